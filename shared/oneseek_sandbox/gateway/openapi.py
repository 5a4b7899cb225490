"""The description of the eight verbs, made from the models themselves: `/openapi.json`, `/docs`."""

from __future__ import annotations

import html
import inspect
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import models_json_schema

from oneseek_sandbox import __version__, errors, models
from oneseek_sandbox.http.verbs import VERBS

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["describe", "docs_page"]

_MODELS: Final[dict[str, tuple[type[BaseModel], type[BaseModel]]]] = {
    "acquire": (models.AcquireRequest, models.AcquireAnswer),
    "execute": (models.ExecuteRequest, models.ExecuteAnswer),
    "ls": (models.LsRequest, models.LsAnswer),
    "read_file": (models.ReadFileRequest, models.ReadFileAnswer),
    "write_file": (models.WriteFileRequest, models.WriteFileAnswer),
    "replace": (models.ReplaceRequest, models.ReplaceAnswer),
    "release": (models.ReleaseRequest, models.ReleaseAnswer),
    "cleanup_idle": (models.CleanupIdleRequest, models.CleanupIdleAnswer),
}
_ERROR: Final = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "retryable": {"type": "boolean"},
                "trace_id": {"type": "string"},
                "may_have_run": {"type": "boolean"},
            },
            "required": ["code", "message", "retryable", "trace_id"],
        }
    },
}


def describe() -> dict[str, Any]:
    """Return the OpenAPI 3.1 description."""
    kinds = [*((request, "validation") for request, _ in _MODELS.values())]
    kinds += [(answer, "serialization") for _, answer in _MODELS.values()]
    kinds.append((models.ListSandboxesAnswer, "serialization"))
    kinds.append((models.CancelAnswer, "serialization"))
    _, definitions = models_json_schema(kinds, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    paths: dict[str, Any] = {f"/v1/sandbox/{verb}": {"post": _operation(verb)} for verb in VERBS}
    paths["/v1/sandbox"] = {
        "get": {
            "operationId": "list_sandboxes",
            "summary": "List live sandboxes; needs an operator's key.",
            "responses": _responses("ListSandboxesAnswer"),
        }
    }
    paths["/healthz"] = {
        "get": {
            "operationId": "healthz",
            "summary": "Tell that the server is up; needs no key.",
            "security": [],
            "responses": {"200": {"description": "It is."}},
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "oneseek-sandbox", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {**definitions["$defs"], "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _operation(verb: str) -> dict[str, Any]:
    request, answer = _MODELS[verb]
    return {
        "operationId": verb,
        "summary": _first_line(request),
        "description": inspect.getdoc(VERBS[verb]) or "",
        "requestBody": {
            "required": verb != "cleanup_idle",
            "content": {"application/json": {"schema": _reference(request.__name__)}},
        },
        "responses": _responses(answer.__name__),
    }


def _responses(answer: str) -> dict[str, Any]:
    content = {"application/json": {"schema": _reference(answer)}}
    refused = {"application/json": {"schema": _reference("Error")}}
    return {
        "200": {"description": "Done.", "content": content},
        "default": {"description": "Not done; the code says why.", "content": refused},
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def docs_page() -> str:
    """Return the same for people, as one page without scripts."""
    sections = "".join(_section(verb) for verb in VERBS)
    rows = "".join(
        f"<tr><td><code>{kind.code}</code></td><td>{kind.status}</td>"
        f"<td>{html.escape(_first_line(kind))}</td></tr>"
        for kind in _error_classes()
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>oneseek-sandbox</title>"
        "<meta name=viewport content='width=device-width'><style>body{font:16px/1.5 sans-serif;"
        "max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}table{border-collapse:collapse;"
        "width:100%}td,th{border-bottom:1px solid #ddd;padding:.3rem .6rem;text-align:left;"
        "vertical-align:top}code{background:#f3f3f3;padding:0 .2rem}pre{white-space:pre-wrap}"
        f"</style><h1>oneseek-sandbox {__version__}</h1><p>Every call is <code>POST /v1/sandbox/"
        "VERB</code> with JSON and <code>Authorization: Bearer KEY</code>. The same for programs: "
        f"<a href=/openapi.json>/openapi.json</a>.</p>{sections}<h2>Errors</h2><table>"
        f"<tr><th>code<th>status<th>meaning</tr>{rows}</table></html>"
    )


def _section(verb: str) -> str:
    request, answer = _MODELS[verb]
    return (
        f"<h2 id={verb}>{verb}</h2><p>{html.escape(_first_line(request))}</p>"
        f"<pre>{html.escape(_attributes(request))}</pre>"
        f"<h3>request</h3>{_table(request)}<h3>answer</h3>{_table(answer)}"
    )


def _attributes(model: type[BaseModel]) -> str:
    return (inspect.getdoc(model) or "").partition("Attributes:\n")[2]


def _table(model: type[BaseModel]) -> str:
    rows = "".join(
        f"<tr><td><code>{name}</code></td><td>{html.escape(_type(field.annotation))}</td>"
        f"<td>{'required' if field.is_required() else html.escape(repr(field.default))}</td></tr>"
        for name, field in model.model_fields.items()
    )
    return f"<table>{rows or '<tr><td>nothing</td></tr>'}</table>"


def _type(annotation: object) -> str:
    text = getattr(annotation, "__name__", "") if isinstance(annotation, type) else str(annotation)
    return text.replace("typing.", "").replace("datetime.", "")


def _error_classes() -> list[type[errors.SandboxError]]:
    named = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    return sorted(named, key=lambda kind: (kind.status, kind.code))
