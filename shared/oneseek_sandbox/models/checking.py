"""Parsed JSON into models, with an error text that names the field and what to do."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import BaseModel, ValidationError

from oneseek_sandbox.errors import InvalidRequestError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["check", "shown"]

_DEEPEST: Final = 32
_SHOWN_PROBLEMS: Final = 5
_LONGEST_SHOWN: Final = 100

ModelT = TypeVar("ModelT", bound=BaseModel)


def check(model: type[ModelT], value: object, *, from_strings: bool = False) -> ModelT:
    """Validate parsed JSON.

    Args:
        from_strings: Every value is a string, as in a query; numbers and booleans are read from it.

    Raises:
        InvalidRequestError: It is not what the model wants; the message names the field and the
            nearest valid one.
    """
    if not isinstance(value, dict):
        raise InvalidRequestError(
            f"The body is a JSON {_json_name(value)}; send an object with: {_names(model)}."
        )
    _refuse_hostile(value, "", 1)
    try:
        return model.model_validate_strings(value) if from_strings else model.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        explained = [_explain(model, problem) for problem in problems[:_SHOWN_PROBLEMS]]
        raise InvalidRequestError("; ".join(dict.fromkeys(explained)) + ".") from None


def _refuse_hostile(value: object, where: str, depth: int) -> None:
    """Refuse what no field ever wants: NUL, lone surrogates, and very deep nesting."""
    if depth > _DEEPEST:
        raise InvalidRequestError("The body is nested too deeply.")
    if isinstance(value, str):
        if "\0" in value and where.partition(".")[0] not in {"content", "stdin", "old", "new"}:
            raise InvalidRequestError(f"{shown(where)}: contains a NUL character.")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidRequestError(
                f"{shown(where)}: contains half of a surrogate pair, which is not Unicode text."
            ) from None
    elif isinstance(value, dict):
        for name, item in value.items():
            _refuse_hostile(name, where or "field name", depth + 1)
            # The names of variables are nobody's business either.
            inner = where if where == "env" else f"{where}.{name}" if where else name
            _refuse_hostile(item, inner, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _refuse_hostile(item, where, depth + 1)


def _explain(model: type[BaseModel], problem: ErrorDetails) -> str:
    # Unions add the names of their branches to the location; the field's own name is enough.
    location = [str(part) for part in problem["loc"]]
    field = location[0] if location else ""
    if problem["type"] == "extra_forbidden":
        field = shown(field)
        near = difflib.get_close_matches(field, model.model_fields, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]!r}?" if near else f"known are: {_names(model)}"
        return f"{field}: no such field; {advice}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        message = "is required"
    return f"{field}: {message}" if field else message


def shown(name: str) -> str:
    """Return a caller's name as an error text may repeat it."""
    short = name if len(name) <= _LONGEST_SHOWN else name[:_LONGEST_SHOWN] + "…"
    return short.encode("utf-8", "backslashreplace").decode()


def _names(model: type[BaseModel]) -> str:
    return ", ".join(model.model_fields)


def _json_name(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
