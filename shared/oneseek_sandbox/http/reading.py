"""Requests, read with suspicion: bounded, decoded strictly, and checked field by field."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from oneseek_sandbox.errors import (
    InvalidRequestError,
    RequestTooLargeError,
    UnsupportedMediaTypeError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pydantic_core import ErrorDetails
    from starlette.requests import Request

__all__ = [
    "accepts",
    "bounded_stream",
    "check",
    "media_type",
    "parse_model",
    "read_body",
    "read_model",
    "read_query",
]

_DEEPEST: Final = 32
_SHOWN_PROBLEMS: Final = 5
_LONGEST_SHOWN: Final = 100

ModelT = TypeVar("ModelT", bound=BaseModel)


def media_type(request: Request) -> str:
    """Return the body's content type without its parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def accepts(request: Request, wanted: str) -> bool:
    """Return whether the caller named `wanted` in its Accept header."""
    listed = request.headers.get("accept", "").lower().split(",")
    return any(part.partition(";")[0].strip() == wanted for part in listed)


async def bounded_stream(request: Request, limit: int) -> AsyncIterator[bytes]:
    """Yield the body as it comes, at most `limit` bytes.

    Raises:
        RequestTooLargeError: There is more; known before the first byte when the length was sent.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise _too_large(limit)
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
    """Read the query string into `model`; `true` and `false` are booleans where one is wanted."""
    query = request.scope["query_string"].decode("latin-1")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict")
    except ValueError:
        raise InvalidRequestError("The query string is not UTF-8, percent-encoded.") from None
    values: dict[str, Any] = {}
    for name, text in pairs:
        if name in values:
            raise InvalidRequestError(f"{_shown(name)}: given twice in the query string.")
        values[name] = _from_query(model, name, text)
    return check(model, values)


def check(model: type[ModelT], value: object) -> ModelT:
    """Validate parsed JSON, with an error text that says what to do."""
    if not isinstance(value, dict):
        raise InvalidRequestError(
            f"The body is a JSON {_json_name(value)}; send an object with: {_names(model)}."
        )
    _refuse_hostile(value, "", 1)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        shown = [_explain(model, problem) for problem in problems[:_SHOWN_PROBLEMS]]
        raise InvalidRequestError("; ".join(dict.fromkeys(shown)) + ".") from None


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
        counts = Counter(name for name, _ in pairs)
        raise InvalidRequestError(f"{_shown(counts.most_common(1)[0][0])}: given twice.")
    return values


def _refuse_hostile(value: object, where: str, depth: int) -> None:
    """Refuse what no field ever wants: NUL, lone surrogates, and very deep nesting."""
    if depth > _DEEPEST:
        raise InvalidRequestError("The body is nested too deeply.")
    if isinstance(value, str):
        if "\0" in value and where.partition(".")[0] not in {"content", "stdin", "old", "new"}:
            raise InvalidRequestError(f"{_shown(where)}: contains a NUL character.")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidRequestError(
                f"{_shown(where)}: contains half of a surrogate pair, which is not Unicode text."
            ) from None
    elif isinstance(value, dict):
        for name, item in value.items():
            _refuse_hostile(name, where or "field name", depth + 1)
            _refuse_hostile(item, f"{where}.{name}" if where else name, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _refuse_hostile(item, where, depth + 1)


def _explain(model: type[BaseModel], problem: ErrorDetails) -> str:
    # Unions add the names of their branches to the location; the field's own name is enough.
    location = [str(part) for part in problem["loc"]]
    field = location[0] if location else ""
    if problem["type"] == "extra_forbidden":
        field = _shown(field)
        near = difflib.get_close_matches(field, model.model_fields, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]!r}?" if near else f"known are: {_names(model)}"
        return f"{field}: no such field; {advice}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        message = "is required"
    return f"{field}: {message}" if field else message


def _shown(name: str) -> str:
    """Return a caller's name as an error text may repeat it."""
    short = name if len(name) <= _LONGEST_SHOWN else name[:_LONGEST_SHOWN] + "…"
    return short.encode("utf-8", "backslashreplace").decode()


def _names(model: type[BaseModel]) -> str:
    return ", ".join(model.model_fields)


def _json_name(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _from_query(model: type[BaseModel], name: str, text: str) -> object:
    field = model.model_fields.get(name)
    if field is None:
        return text
    annotation = str(field.annotation)
    if "bool" in annotation and text in {"true", "false"}:
        return text == "true"
    return text


def _too_large(limit: int) -> RequestTooLargeError:
    return RequestTooLargeError(
        f"The body is over {limit} bytes. Send files as 'Content-Type: application/octet-stream' "
        "to write_file, or in parts with append."
    )
