"""The models as JSON schemas, each field with what its docstring says of it."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import models_json_schema

from oneseek_sandbox import models

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["ANSWERS", "REQUESTS", "first_line", "model_schemas", "type_in_words"]

REQUESTS: Final[dict[str, type[BaseModel]]] = {
    "acquire": models.AcquireRequest,
    "execute": models.ExecuteRequest,
    "ls": models.LsRequest,
    "read_file": models.ReadFileRequest,
    "write_file": models.WriteFileRequest,
    "replace": models.ReplaceRequest,
    "release": models.ReleaseRequest,
    "cleanup_idle": models.CleanupIdleRequest,
    "processes": models.ProcessesRequest,
    "attach": models.AttachRequest,
    "input": models.InputRequest,
    "signal": models.SignalRequest,
}
ANSWERS: Final[dict[str, type[BaseModel]]] = {
    "acquire": models.AcquireAnswer,
    "execute": models.ExecuteAnswer,
    "ls": models.LsAnswer,
    "read_file": models.ReadFileAnswer,
    "write_file": models.WriteFileAnswer,
    "replace": models.ReplaceAnswer,
    "release": models.ReleaseAnswer,
    "cleanup_idle": models.CleanupIdleAnswer,
    "processes": models.ProcessesAnswer,
    "attach": models.AttachAnswer,
    "input": models.InputAnswer,
    "signal": models.SignalAnswer,
}
_FURTHER_ANSWERS: Final[list[type[BaseModel]]] = [
    models.CancelAnswer,
    models.DirectoryEntry,
    models.GapEvent,
    models.ListedSandbox,
    models.ListSandboxesAnswer,
    models.LogAnswer,
    models.OutputEvent,
    models.ProcessAnswer,
    models.StartedAnswer,
]


def model_schemas() -> dict[str, dict[str, Any]]:
    """Return every model's schema by its name."""
    answers = [*ANSWERS.values(), *_FURTHER_ANSWERS]
    kinds: list[Any] = [(model, "validation") for model in REQUESTS.values()]
    kinds += [(model, "serialization") for model in answers]
    _, definitions = models_json_schema(kinds, ref_template="#/components/schemas/{model}")
    schemas: dict[str, dict[str, Any]] = definitions["$defs"]
    for model in [*REQUESTS.values(), *answers]:
        schema = schemas[model.__name__]
        schema["description"] = first_line(model)
        meanings = _field_meanings(model)
        for name, field in schema.get("properties", {}).items():
            field.pop("title", None)
            if name in meanings:
                field["description"] = meanings[name]
    return schemas


def first_line(thing: object) -> str:
    """Return the first line of a docstring."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _field_meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return what the docstrings of a model and its bases say of its fields."""
    meanings: dict[str, str] = {}
    names = "|".join(sorted(model.model_fields, key=len, reverse=True))
    for kind in reversed(model.__mro__):
        text = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
        # A field begins a line, or a sentence in the line of another.
        parts = re.split(rf"(?:^|(?<=\. ))\s*({names}): ", text, flags=re.MULTILINE)
        pairs = zip(parts[1::2], parts[2::2], strict=True)
        meanings |= {name: " ".join(meaning.split()) for name, meaning in pairs}
    return meanings


def type_in_words(schema: dict[str, Any]) -> str:
    """Return what a field may be as people write it: `integer (1 to 86400)`."""
    if "anyOf" in schema:
        kinds = [type_in_words(kind) for kind in schema["anyOf"] if kind.get("type") != "null"]
        return " or ".join(kinds)
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"])
    return _named(schema) + _bounds(schema)


def _named(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "")
    if kind == "array":
        items = schema["items"]
        return f"list of {_named(items)}s" if "type" in items else f"list of {type_in_words(items)}"
    if kind == "object":
        return "object of strings"
    if kind == "boolean":
        return "true or false"
    return "time (RFC 3339)" if schema.get("format") == "date-time" else str(kind)


def _bounds(schema: dict[str, Any]) -> str:
    for low, high, unit in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", ""),
    ):
        if high in schema:
            return f" ({schema.get(low, 0)} to {schema[high]}{unit})"
        if low in schema:
            return f" (from {schema[low]}{unit})"
    return f" ({schema['pattern']})" if "pattern" in schema else ""
