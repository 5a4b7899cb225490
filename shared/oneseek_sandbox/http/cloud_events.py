"""CloudEvents, binary and structured, as the trigger of `cleanup_idle`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from oneseek_sandbox.errors import InvalidRequestError
from oneseek_sandbox.http.reading import media_type

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["is_cloud_event", "read_cloud_event"]

_STRUCTURED: Final = "application/cloudevents"


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
    # Imported here: the other verbs start without it.
    from cloudevents.exceptions import GenericException
    from cloudevents.http import from_http

    if media_type(request).startswith("application/cloudevents-batch"):
        raise InvalidRequestError("A batch of CloudEvents is not accepted; send them one by one.")
    try:
        event = from_http(dict(request.headers), body or None)
    except (
        GenericException,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        raise InvalidRequestError(
            f"Not a valid CloudEvent ({type(error).__name__}): it needs specversion 1.0, id, "
            "source and type, in ce- headers or in a structured JSON body."
        ) from None
    # The library takes the draft 0.3 too, and attributes that are there and empty.
    attributes = event.get_attributes()
    version = attributes.get("specversion")
    if version != "1.0":
        raise InvalidRequestError(
            f"Not a valid CloudEvent: its specversion is {str(version)[:20]!r}; send 1.0."
        )
    for name in ("id", "source", "type"):
        if not isinstance(attributes.get(name), str) or not attributes[name].strip():
            raise InvalidRequestError(
                f"Not a valid CloudEvent: {name} must be a text that is not empty."
            )
