"""The six tools as models see them: names, descriptions and JSON schemas; no calls."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox import models
from oneseek_sandbox.agent_tools import arguments
from oneseek_sandbox.errors import InvalidRequestError
from oneseek_sandbox.models.checking import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel

__all__ = ["READ_ONLY_TOOLS", "TOOLS", "Tool", "choose_tools", "function_schemas"]

# Strict mode refuses a schema that has them; calls are checked here anyway.
_NOT_STRICT: Final = ("default", "minLength", "maxLength")


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool.

    Attributes:
        description: For a model: what it does, its limits, and what to do about errors.
        arguments: What it takes.
        answer: What programs get.
        reads_only: It changes nothing in the sandbox.
    """

    name: str
    description: str
    arguments: type[BaseModel]
    answer: type[BaseModel]
    reads_only: bool = False

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the arguments; what may be left out is not `required`."""
        generated = self.arguments.model_json_schema()
        fields = generated.get("properties", {})
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: _plain(field) for name, field in fields.items()},
            "required": generated.get("required", []),
            "additionalProperties": False,
        }
        return schema


_EXECUTE: Final = Tool(
    "sandbox_execute",
    "Run a shell command in this conversation's sandbox, an isolated Linux machine whose files in "
    "/workspace persist between calls; environment variables and the current directory do not. "
    "The result starts with the exit code, followed by the output, with stderr after a separator "
    "line. A failing command is a normal result: read it and fix the cause. Long output keeps its "
    "head and tail: write it to a file and read the part you need. A command that times out is "
    "killed with its child processes: set timeout_seconds, or start it in the background with "
    "'command > log 2>&1 &' and look at the log. There may be no network.",
    arguments.ExecuteArguments,
    models.ExecuteAnswer,
)
_LS: Final = Tool(
    "sandbox_ls",
    "List a directory of the sandbox, sorted: one path per line, with a / after directories and the "
    "size in bytes after files. A long list is cut and says how to continue. '(empty)' means that "
    "it has no entries.",
    arguments.LsArguments,
    models.LsAnswer,
    reads_only=True,
)
_READ_FILE: Final = Tool(
    "sandbox_read_file",
    "Read a text file of the sandbox, all of it or from start_line to end_line. A long file is cut "
    "and says with which start_line to continue. Binary files are named, but not shown.",
    arguments.ReadFileArguments,
    models.ReadFileAnswer,
    reads_only=True,
)
_WRITE_FILE: Final = Tool(
    "sandbox_write_file",
    "Write a text file in the sandbox. The whole file is replaced, or created with its "
    "directories; with append, the text is added to the end. To change a part of a file use sandbox_replace.",
    arguments.WriteFileArguments,
    models.WriteFileAnswer,
)
_REPLACE: Final = Tool(
    "sandbox_replace",
    "Replace exact text in a file of the sandbox. If the text is missing, or occurs more than "
    "once without replace_all, it is an error and nothing is changed: read the file and give the "
    "exact text with some surrounding lines.",
    arguments.ReplaceArguments,
    models.ReplaceAnswer,
)
_RELEASE: Final = Tool(
    "sandbox_release",
    "End this conversation's sandbox: all its files and processes are deleted. Use it only "
    "when the work is done and its results have been given to the user, or to begin again from "
    "nothing. The next call of any sandbox tool gets a new, empty one.",
    arguments.ReleaseArguments,
    models.ReleaseAnswer,
)

TOOLS: Final[Mapping[str, Tool]] = {
    tool.name: tool for tool in (_EXECUTE, _LS, _READ_FILE, _WRITE_FILE, _REPLACE, _RELEASE)
}


READ_ONLY_TOOLS: Final = tuple(tool.name for tool in TOOLS.values() if tool.reads_only)
"""Names of the tools that change nothing."""


def choose_tools(names: Iterable[str] | None) -> dict[str, Tool]:
    """Return the tools to offer, by name and in their usual order; None means all of them.

    Raises:
        InvalidRequestError: There is no tool of a name, or none is named.
    """
    if names is None:
        return dict(TOOLS)
    wanted = {names} if isinstance(names, str) else set(names)
    if unknown := sorted(wanted - TOOLS.keys()):
        raise InvalidRequestError(
            f"tools: there is no tool {shown(unknown[0])!r}. There are: {', '.join(TOOLS)}."
        )
    if not wanted:
        raise InvalidRequestError(f"tools: name at least one of {', '.join(TOOLS)}.")
    return {name: tool for name, tool in TOOLS.items() if name in wanted}


def function_schemas(
    tools: Iterable[str] | None = None, *, strict: bool = False
) -> list[dict[str, Any]]:
    """Return the tools as OpenAI's function schemas, for any model that takes those.

    Args:
        tools: Names of the tools to offer; all by default.
        strict: For `"strict": true`: all fields are required, and what may be left out may be null.
    """
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": _all_required(tool.schema()) if strict else tool.schema(),
                **({"strict": True} if strict else {}),
            },
        }
        for tool in choose_tools(tools).values()
    ]


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    """Say a field that may be null as one that may be left out: models follow that better."""
    field = copy.deepcopy(field)
    kinds = [kind for kind in field.pop("anyOf", []) if kind != {"type": "null"}]
    for kind in kinds:
        field |= kind
    field.pop("title", None)
    if field.get("default", ...) is None:
        del field["default"]
    return field


def _all_required(schema: dict[str, Any]) -> dict[str, Any]:
    for name, field in schema["properties"].items():
        if name not in schema["required"]:
            field["type"] = [field["type"], "null"]
    for field in schema["properties"].values():
        for keyword in _NOT_STRICT:
            field.pop(keyword, None)
    return schema | {"required": list(schema["properties"])}
