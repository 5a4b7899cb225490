"""JSON objects as requests bring them, taken field by field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError

if TYPE_CHECKING:
    from typing import Any

__all__ = ["MAX_JSON_BYTES", "Fields", "encode_json", "parse_json", "utf8"]

MAX_JSON_BYTES = 20 * 1024 * 1024


def encode_json(value: object) -> bytes:
    """Return JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def _no_huge_number(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("number too long")
    return int(digits)


def parse_json(data: bytes) -> dict[str, Any]:
    """Return the object in `data`; anything else is refused."""
    try:
        value = json.loads(data.decode(), parse_int=_no_huge_number)
    except (ValueError, RecursionError):
        raise WorkerError("invalid_request", "The body is not valid JSON in UTF-8.") from None
    if not isinstance(value, dict):
        raise WorkerError("invalid_request", "The body must be a JSON object.")
    return value


class Fields:
    """A JSON object whose fields are taken one by one, each with its type and range."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = dict(values)

    def text(self, name: str, default: str | None = None, *, limit: int = MAX_JSON_BYTES) -> str:
        """Take a required string, or one with a default, of at most `limit` characters."""
        value = self._values.pop(name, default)
        if not isinstance(value, str) or len(value) > limit:
            raise WorkerError("invalid_request", f"{name} must be a string of up to {limit}.")
        return value

    def optional_text(self, name: str, *, limit: int = MAX_JSON_BYTES) -> str | None:
        """Take a string, or None when it is not there."""
        return None if self._values.get(name) is None else self.text(name, limit=limit)

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """Take a whole number between `low` and `high`."""
        value = self._values.pop(name, default)
        if type(value) is not int or not low <= value <= high:
            raise WorkerError("invalid_request", f"{name} must be between {low} and {high}.")
        return value

    def optional_integer(self, name: str, low: int, high: int) -> int | None:
        """Take a whole number, or None when it is not there."""
        return None if self._values.get(name) is None else self.integer(name, low, high)

    def flag(self, name: str) -> bool:
        """Take a boolean; false when it is not there."""
        value = self._values.pop(name, False)
        if type(value) is not bool:
            raise WorkerError("invalid_request", f"{name} must be true or false.")
        return value

    def raw(self, name: str) -> object:
        """Take whatever is there, None when nothing is."""
        return self._values.pop(name, None)

    def close(self) -> None:
        """Refuse what nobody took."""
        unknown = [name for name, value in self._values.items() if value is not None]
        if unknown:
            raise WorkerError("invalid_request", f"Unknown field {unknown[0]!r}.")


def utf8(text: str, name: str) -> bytes:
    """Return the bytes of a field's text; halves of characters are refused."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise WorkerError("invalid_request", f"{name} has a lone surrogate.") from None
