"""Requests, read with suspicion: bounded, decoded strictly, and checked field by field."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel

from oneseek_sandbox.errors import (
    InvalidRequestError,
    RequestTooLargeError,
    UnsupportedMediaTypeError,
)
from oneseek_sandbox.models import SandboxesQuery
from oneseek_sandbox.models.checking import check, shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

__all__ = [
    "SEND_PARTS",
    "accepts",
    "bounded_stream",
    "media_type",
    "parse_model",
    "read_body",
    "read_labels",
    "read_model",
    "read_query",
]

ModelT = TypeVar("ModelT", bound=BaseModel)
SEND_PARTS: Final = (
    "That is the most of one call (PROVISIONER_MAX_FILE_BYTES): send the file in parts with "
    "append=true, or let a command in the sandbox fetch it."
)
_SEND_AS_STREAM: Final = (
    "Send files as 'Content-Type: application/octet-stream' to write_file, or in parts with append."
)


def media_type(request: Request) -> str:
    """Return the body's content type without its parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def accepts(request: Request, wanted: str) -> bool:
    """Return whether the caller named `wanted` in its Accept header."""
    listed = request.headers.get("accept", "").lower().split(",")
    return any(part.partition(";")[0].strip() == wanted for part in listed)


async def bounded_stream(
    request: Request, limit: int, *, advice: str = _SEND_AS_STREAM
) -> AsyncIterator[bytes]:
    """Yield the body as it comes, at most `limit` bytes; `advice` is for whoever sends more.

    Raises:
        RequestTooLargeError: There is more; known before the first byte when the length was sent.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise RequestTooLargeError(f"The body is over {limit} bytes. {advice}")
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise RequestTooLargeError(f"The body is over {limit} bytes. {advice}")
        yield chunk


async def read_body(request: Request, limit: int) -> bytes:
    """Return the whole body."""
    return b"".join([chunk async for chunk in bounded_stream(request, limit)])


async def read_model(request: Request, model: type[ModelT], limit: int) -> ModelT:
    """Read the JSON body into `model`; `parse_model` says how."""
    return parse_model(request, await read_body(request, limit), model)


def parse_model(request: Request, body: bytes, model: type[ModelT]) -> ModelT:
    """Turn a JSON body into `model`.

    Raises:
        UnsupportedMediaTypeError: The body is not declared as JSON.
        InvalidRequestError: It is not JSON, or not what the model wants; the message names the
            field and the nearest valid one.
    """
    if media_type(request) != "application/json":
        raise UnsupportedMediaTypeError(
            f"Content-Type is {request.headers.get('content-type', '(none)')!r}; send JSON with "
            "'Content-Type: application/json'."
        )
    return check(model, _parse(body))


def read_query(request: Request, model: type[ModelT]) -> ModelT:
    """Read the query string into `model`; its values are read as the fields want them.

    Raises:
        InvalidRequestError: It is not UTF-8, has a name twice, or is not what the model wants.
    """
    pairs = _query(request)
    values = dict(pairs)
    if len(values) < len(pairs):
        raise InvalidRequestError(f"{shown(_repeated(pairs))}: given twice in the query string.")
    read = check(model, values, from_strings=True)
    for name, text in values.items():
        # pydantic takes "1", "yes" and "on" as well; one spelling is enough, that of JSON.
        if isinstance(getattr(read, name), bool) and text not in {"true", "false"}:
            raise InvalidRequestError(f"{name}: must be true or false.")
    return read


def read_labels(request: Request) -> SandboxesQuery:
    """Read which sandboxes a list is to name, as `?label=KEY%3DVALUE`; several have to fit all.

    Raises:
        InvalidRequestError: It is not UTF-8, names something else, or a label has no `=` or is none.
    """
    labels: dict[str, str] = {}
    for name, text in _query(request):
        key, equals, value = text.partition("=")
        if name != "label" or not equals:
            raise InvalidRequestError(
                f"{shown(name)}: the list takes label=KEY=VALUE, as ?label=KEY%3DVALUE."
            )
        if labels.setdefault(key, value) != value:
            raise InvalidRequestError("label: no sandbox has two values of one key.")
    return check(SandboxesQuery, {"label": labels})


def _query(request: Request) -> list[tuple[str, str]]:
    query = request.scope["query_string"].decode("latin-1")
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict")
    except ValueError:
        raise InvalidRequestError("The query string is not UTF-8, percent-encoded.") from None


def _parse(body: bytes) -> object:
    if not body.strip():
        raise InvalidRequestError("The body is empty; send a JSON object.")
    try:
        return json.loads(
            body.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique
        )
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"The body is not UTF-8 at byte {error.start}.") from None
    except json.JSONDecodeError as error:
        raise InvalidRequestError(
            f"The body is not JSON: {error.msg} at line {error.lineno} column {error.colno}."
        ) from None
    except (RecursionError, ValueError) as error:
        if isinstance(error, RecursionError):
            raise InvalidRequestError("The body is nested too deeply.") from None
        raise InvalidRequestError(f"The body is not acceptable JSON: {error}.") from None


def _refuse_constant(name: str) -> None:
    raise InvalidRequestError(f"The body contains {name}, which is not JSON.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise InvalidRequestError(f"{shown(_repeated(pairs))}: given twice.")
    return values


def _repeated(pairs: list[tuple[str, Any]]) -> str:
    return Counter(name for name, _ in pairs).most_common(1)[0][0]
