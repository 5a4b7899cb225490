"""The description of the eight verbs for programs: `/openapi.json`, made from the models."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from oneseek_sandbox import __version__
from oneseek_sandbox.gateway.schemas import ANSWERS, REQUESTS, first_line, model_schemas
from oneseek_sandbox.http.verbs import VERBS

__all__ = ["EXAMPLES", "describe"]

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "acquire": {"thread_id": "demo"},
    "execute": {"thread_id": "demo", "command": "python3 -m unittest", "timeout_seconds": 60},
    "ls": {"thread_id": "demo", "depth": 2},
    "read_file": {"thread_id": "demo", "path": "/workspace/a.py", "start_line": 1, "end_line": 40},
    "write_file": {"thread_id": "demo", "path": "/workspace/a.py", "content": "print(1)\n"},
    "replace": {"thread_id": "demo", "path": "/workspace/a.py", "old": "(1)", "new": "(2)"},
    "release": {"thread_id": "demo"},
    "cleanup_idle": {},
    "processes": {"thread_id": "demo", "state": "running"},
    "attach": {"thread_id": "demo", "request_id": "server", "offset": 0, "wait_seconds": 30},
    "input": {"thread_id": "demo", "request_id": "server", "data": "help\n", "offset": 0},
    "signal": {"thread_id": "demo", "request_id": "server", "signal": "TERM"},
}
_BYTES: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
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
                "details": {"type": "object", "additionalProperties": {"type": "integer"}},
            },
            "required": ["code", "message", "retryable", "trace_id"],
        }
    },
    "required": ["error"],
}
_EVENTS: Final = (
    'Server-sent events: `stdout` and `stderr` with `{"text"}` as output is printed, then `exit` '
    "with the result, or `error` with the error."
)

_OUTPUT_EVENTS: Final = (
    "Server-sent events: `stdout`, `stderr` with `text`, and `gap` with `from` and `to`, as output "
    "comes; last `exit` with the process, `again` with `next_offset` when the time is over, or "
    "`error`. `id` is where to go on."
)


@cache
def describe() -> dict[str, Any]:
    """Return the OpenAPI 3.1 description."""
    schemas = model_schemas()
    paths: dict[str, Any] = {
        f"/v1/sandbox/{verb}": {"post": _operation(verb, schemas)} for verb in VERBS
    }
    paths["/v1/sandbox"] = {
        "get": {
            "operationId": "list_sandboxes",
            "summary": "List the live sandboxes of the scopes that the key reaches.",
            "parameters": [
                {
                    "name": "label",
                    "in": "query",
                    "schema": {"type": "array", "items": {"type": "string"}},
                    "explode": True,
                    "description": "`KEY=VALUE`: only sandboxes with this label; with several, all.",
                }
            ],
            "responses": _responses({"application/json": _schema("ListSandboxesAnswer")}),
        }
    }
    paths["/healthz"] = {
        "get": {
            "operationId": "healthz",
            "summary": "Report that the server is up; needs no key.",
            "security": [],
            "responses": {"200": {"description": "The server is up."}},
        }
    }
    paths["/readyz"] = {
        "get": {
            "operationId": "readyz",
            "summary": "Report whether the store accepts writes and the disk has room; needs no key.",
            "security": [],
            "responses": {
                "200": {"description": "Ready."},
                "503": {"description": "Not ready; `lacks` names `store`, `disk`, or both."},
            },
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "oneseek-sandbox", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _operation(verb: str, schemas: dict[str, Any]) -> dict[str, Any]:
    request = REQUESTS[verb].__name__
    json_body = {**_schema(request), "example": EXAMPLES[verb]}
    answers: dict[str, Any] = {"application/json": _schema(ANSWERS[verb].__name__)}
    operation: dict[str, Any] = {
        "operationId": verb,
        "summary": first_line(REQUESTS[verb]),
        "description": first_line(VERBS[verb]),
        "requestBody": {
            "required": verb != "cleanup_idle",
            "content": {"application/json": json_body},
        },
        "responses": _responses(answers),
    }
    if verb == "execute":
        either = [
            _schema(name)["schema"] for name in ("ExecuteAnswer", "StartedAnswer", "CancelAnswer")
        ]
        answers["application/json"] = {"schema": {"oneOf": either}}
        answers["text/event-stream"] = {"schema": {"type": "string", "description": _EVENTS}}
    elif verb == "attach":
        answers["text/event-stream"] = {"schema": {"type": "string", "description": _OUTPUT_EVENTS}}
    elif verb == "read_file":
        answers.update(_BYTES)
    elif verb in ("write_file", "input"):
        operation["requestBody"]["content"].update(_BYTES)
        operation["parameters"] = _query(schemas[request])
    elif verb == "cleanup_idle":
        operation["responses"]["204"] = {"description": "Success, for a CloudEvent."}
    return operation


def _query(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of a request as they go into the query beside an octet stream."""
    return [
        {"name": name, "in": "query", "schema": field, "description": "With an octet-stream body."}
        for name, field in schema["properties"].items()
        if name not in ("content", "data", "encoding")
    ]


def _responses(answers: dict[str, Any]) -> dict[str, Any]:
    return {
        "200": {"description": "Success.", "content": answers},
        "default": {
            "description": "Error; the code says why.",
            "headers": {
                "Retry-After": {
                    "description": "Seconds, with 429 and 503.",
                    "schema": {"type": "integer"},
                }
            },
            "content": {"application/json": _schema("Error")},
        },
    }


def _schema(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}
