"""CloudEvents, binary and structured, as the trigger of `cleanup_idle`.

Read here and not by the `cloudevents` package: that takes the draft 0.3, attributes that are empty,
and an event in the body of a request whose headers say that it is in them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.errors import InvalidRequestError
from oneseek_sandbox.http.reading import media_type

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["is_cloud_event", "read_cloud_event"]

_STRUCTURED: Final = "application/cloudevents"
_BATCH: Final = "application/cloudevents-batch"
_FORMATS: Final = (_STRUCTURED, _STRUCTURED + "+json")
_REQUIRED: Final = ("id", "source", "type")


def is_cloud_event(request: Request) -> bool:
    """Return whether a request is a CloudEvent, well-formed or not."""
    return media_type(request).startswith(_STRUCTURED) or any(
        name.startswith("ce-") for name in request.headers
    )


def read_cloud_event(request: Request, body: bytes) -> None:
    """Check that a request is a whole CloudEvent; of what type and data does not matter.

    A cleanup is safe to repeat, so ids need not be remembered.

    Raises:
        InvalidRequestError: It is a batch, or an attribute is missing or wrong.
    """
    kind = media_type(request)
    if kind.startswith(_BATCH):
        raise InvalidRequestError("A batch of CloudEvents is not accepted; send them one by one.")
    is_structured = kind.startswith(_STRUCTURED)
    attributes = _of_body(kind, body) if is_structured else _of_headers(request)
    version = attributes.get("specversion")
    if version != "1.0":
        raise InvalidRequestError(
            f"Not a valid CloudEvent: its specversion is {str(version)[:20]!r}; send 1.0."
        )
    for name in _REQUIRED:
        if not isinstance(attributes.get(name), str) or not attributes[name].strip():
            raise InvalidRequestError(
                f"Not a valid CloudEvent: {name} must be a text that is not empty."
            )
    if attributes.keys() >= {"data", "data_base64"}:
        raise InvalidRequestError("Not a valid CloudEvent: it has both data and data_base64.")


def _of_headers(request: Request) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for name in ("specversion", *_REQUIRED):
        values = request.headers.getlist(f"ce-{name}")
        if len(values) > 1:
            raise InvalidRequestError(f"Not a valid CloudEvent: the header ce-{name} came twice.")
        if values:
            attributes[name] = values[0]
    return attributes


def _of_body(kind: str, body: bytes) -> dict[str, Any]:
    if kind not in _FORMATS:
        raise InvalidRequestError(
            f"A CloudEvent as {kind[:60]!r} is not accepted; send {_FORMATS[-1]!r}, or ce- headers."
        )
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise InvalidRequestError("Not a valid CloudEvent: the body is no JSON object in UTF-8.")
    return event
