"""The description of the eight verbs for people: `/docs`, one page without scripts."""

from __future__ import annotations

import json
from functools import cache
from html import escape
from typing import Any, Final

from oneseek_sandbox import __version__, errors
from oneseek_sandbox.gateway.openapi import EXAMPLES
from oneseek_sandbox.gateway.schemas import (
    ANSWERS,
    REQUESTS,
    first_line,
    model_schemas,
    type_in_words,
)
from oneseek_sandbox.http.verbs import VERBS

__all__ = ["docs_page"]

_STYLE: Final = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 3rem; border-bottom: 2px solid #8884 } h3 { margin: 1.2rem 0 .3rem }
table { border-collapse: collapse; width: 100% }
td, th { border-bottom: 1px solid #8884; padding: .3rem .6rem; text-align: left; vertical-align: top }
code, pre { font: 14px/1.45 ui-monospace, monospace; background: #8882; border-radius: 3px }
code { padding: 0 .2rem } pre { padding: .6rem .8rem; overflow-x: auto }
nav a { margin-right: 1rem }
"""
_NOTES: Final = {
    "execute": (
        "With <code>Accept: text/event-stream</code> the response is a stream of events: "
        '<code>stdout</code> and <code>stderr</code> with <code>{"text"}</code> as output is '
        "printed, then <code>exit</code> with the result below, or <code>error</code>. Dropping "
        "the connection kills the command, unless it has a <code>request_id</code>. With "
        '<code>cancel</code> the response is <code>{"cancelled": true}</code>, or false if the '
        "command had already ended."
    ),
    "read_file": (
        "With <code>Accept: application/octet-stream</code> the response is the raw content, of "
        "any size; <code>x-sandbox-size</code>, <code>-sha256</code>, <code>-total-lines</code> and "
        "<code>-truncated</code> are headers."
    ),
    "write_file": (
        "With <code>Content-Type: application/octet-stream</code> the body is the content, of any "
        "size, and the other fields are query parameters."
    ),
    "cleanup_idle": (
        "Needs an operator's key, but no body. For a CloudEvent, binary or structured, the "
        "response is 204."
    ),
}


@cache
def docs_page() -> str:
    """Return the page."""
    schemas = model_schemas()
    links = " ".join(f"<a href=#{verb}>{verb}</a>" for verb in VERBS)
    sections = "".join(_section(verb, schemas) for verb in VERBS)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>oneseek-sandbox</title>"
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>"
        f"<h1>oneseek-sandbox {__version__}</h1><p>Isolated sandboxes for AI agents, one per "
        "conversation thread. Every call is <code>POST /v1/sandbox/VERB</code> with JSON and "
        "<code>Authorization: Bearer KEY</code>. A sandbox is named by <code>sandbox_id</code>, or "
        "by <code>thread_id</code> and <code>scope</code>. For programs: "
        f"<a href=/openapi.json>/openapi.json</a>.</p><nav>{links} <a href=#list>list</a> "
        f"<a href=#errors>errors</a></nav>{sections}"
        "<h2 id=list>GET /v1/sandbox</h2><p>The live sandboxes of all scopes; needs an operator's "
        f"key.</p>{_table(schemas['ListedSandbox'], request=False)}"
        f"<h2 id=errors>errors</h2>{_errors()}</html>"
    )


def _section(verb: str, schemas: dict[str, dict[str, Any]]) -> str:
    request, answer = REQUESTS[verb], ANSWERS[verb]
    further = ""
    if verb == "ls":
        further = f"<h3>entries</h3>{_table(schemas['DirectoryEntry'], request=False)}"
    return (
        f"<h2 id={verb}>{verb}</h2><p>{escape(first_line(request))}</p>{_example(verb)}"
        f"<p>{_NOTES.get(verb, '')}</p>"
        f"<h3>request</h3>{_table(schemas[request.__name__], request=True)}"
        f"<h3>answer</h3>{_table(schemas[answer.__name__], request=False)}{further}"
    )


def _example(verb: str) -> str:
    body = f" -d '{json.dumps(EXAMPLES[verb])}'" if EXAMPLES[verb] else " -X POST"
    kind = " -H 'Content-Type: application/json'" if EXAMPLES[verb] else ""
    command = (
        f'curl -sS -H "Authorization: Bearer $KEY"{kind} \\\n'
        f"     http://127.0.0.1:8002/v1/sandbox/{verb} \\\n    {body}"
    )
    return f"<pre>{escape(command, quote=False)}</pre>"


def _table(schema: dict[str, Any], *, request: bool) -> str:
    fields = schema.get("properties", {})
    if not fields:
        return "<p>Nothing.</p>"
    head = "<tr><th>field<th>type" + ("<th>default" if request else "") + "<th>meaning</tr>"
    required = schema.get("required", [])
    rows = []
    for name, field in fields.items():
        cells = [f"<code>{name}</code>", escape(type_in_words(field), quote=False)]
        if request:
            cells.append("required" if name in required else _default(field))
        cells.append(escape(field.get("description", ""), quote=False).replace("`", ""))
        rows.append("<tr>" + "".join(f"<td>{cell}" for cell in cells) + "</tr>")
    return f"<table>{head}{''.join(rows)}</table>"


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    return "" if default is None else f"<code>{escape(json.dumps(default), quote=False)}</code>"


def _errors() -> str:
    kinds = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    leaves = [kind for kind in kinds if not kind.__subclasses__()]
    rows = "".join(
        f"<tr><td><code>{kind.code}</code><td>{kind.status}"
        f"<td>{'yes' if kind.retryable else ''}<td>{escape(first_line(kind), quote=False)}</tr>"
        for kind in sorted(leaves, key=lambda kind: (kind.status, kind.code))
    )
    return (
        '<p><code>{"error": {"code", "message", "retryable", "trace_id"}}</code>, and '
        "<code>Retry-After</code> with 429 and 503.</p>"
        f"<table><tr><th>code<th>status<th>try again<th>meaning</tr>{rows}</table>"
    )
