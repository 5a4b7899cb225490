"""The tools as models see them: names, descriptions and JSON schemas; no calls."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox import models
from oneseek_sandbox.agent_tools import arguments
from oneseek_sandbox.agent_tools.answers import WaitAnswer
from oneseek_sandbox.errors import InvalidRequestError
from oneseek_sandbox.models.checking import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel

__all__ = [
    "EXECUTE",
    "READ_ONLY_TOOLS",
    "TOOLS",
    "WAIT",
    "Tool",
    "choose_tools",
    "function_schemas",
]

EXECUTE: Final = "sandbox_execute"
WAIT: Final = "sandbox_wait"

# Strict mode refuses a schema that has them; calls are checked here anyway.
_NOT_STRICT: Final = ("default", "minLength", "maxLength")


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool.

    Attributes:
        description: For a model: what it does, its limits, and what to do about errors.
        arguments: What it takes.
        answers: What programs get: one of these.
        reads_only: It changes nothing in the sandbox.
    """

    name: str
    description: str
    arguments: type[BaseModel]
    answers: tuple[type[BaseModel], ...]
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

    def output_schema(self) -> dict[str, Any]:
        """Return the JSON schema of what programs get, an object."""
        schemas = [answer.model_json_schema(mode="serialization") for answer in self.answers]
        return schemas[0] if len(schemas) == 1 else {"type": "object", "anyOf": schemas}


_EXECUTE: Final = Tool(
    EXECUTE,
    "Run a shell command in this conversation's sandbox, an isolated Linux machine whose files in "
    "/workspace persist between calls; environment variables and the current directory do not. "
    "The result starts with the exit code, followed by the output, with stderr after a separator "
    "line. A failing command is a normal result: read it and fix the cause. Long output keeps its "
    "head and tail: write it to a file and read the part you need. A command that times out is "
    "killed with its child processes: set timeout_seconds, or start it in the background with "
    "'command > log 2>&1 &' and look at the log. There may be no network.",
    arguments.ExecuteArguments,
    (models.ExecuteAnswer,),
)
_YIELDING_EXECUTE: Final = dataclasses.replace(
    _EXECUTE,
    description=_EXECUTE.description
    + " If a command takes long, the result starts with 'still running' and a request_id while the "
    "command continues: call sandbox_wait with that request_id.",
    answers=(*_EXECUTE.answers, WaitAnswer),
)
_WAIT: Final = Tool(
    WAIT,
    "Continue with a command that is still running: waits until it ends, or for as long as one "
    "call may take, and returns the output since the previous result, in the form of "
    "sandbox_execute. Call it as often as needed; other tools can be used in between. With stop, "
    "it kills the command. Once the command has ended, another call returns its whole output.",
    arguments.WaitArguments,
    (WaitAnswer,),
)
_LS: Final = Tool(
    "sandbox_ls",
    "List a directory of the sandbox, sorted: one path per line, with a / after directories and the "
    "size in bytes after files. A long list is cut and says how to continue. '(empty)' means that "
    "it has no entries.",
    arguments.LsArguments,
    (models.LsAnswer,),
    reads_only=True,
)
_READ_FILE: Final = Tool(
    "sandbox_read_file",
    "Read a text file of the sandbox, all of it or from start_line to end_line. A long file is cut "
    "and says with which start_line to continue. Binary files are named, but not shown.",
    arguments.ReadFileArguments,
    (models.ReadFileAnswer,),
    reads_only=True,
)
_WRITE_FILE: Final = Tool(
    "sandbox_write_file",
    "Write a text file in the sandbox. The whole file is replaced, or created with its "
    "directories; with append, the text is added to the end. To change a part of a file use sandbox_replace.",
    arguments.WriteFileArguments,
    (models.WriteFileAnswer,),
)
_REPLACE: Final = Tool(
    "sandbox_replace",
    "Replace exact text in a file of the sandbox. If the text is missing, or occurs more than "
    "once without replace_all, it is an error and nothing is changed: read the file and give the "
    "exact text with some surrounding lines.",
    arguments.ReplaceArguments,
    (models.ReplaceAnswer,),
)
_RELEASE: Final = Tool(
    "sandbox_release",
    "End this conversation's sandbox: all its files and processes are deleted. Use it only "
    "when the work is done and its results have been given to the user, or to begin again from "
    "nothing. The next call of any sandbox tool gets a new, empty one.",
    arguments.ReleaseArguments,
    (models.ReleaseAnswer,),
)

TOOLS: Final[Mapping[str, Tool]] = {
    tool.name: tool for tool in (_EXECUTE, _WAIT, _LS, _READ_FILE, _WRITE_FILE, _REPLACE, _RELEASE)
}


READ_ONLY_TOOLS: Final = tuple(tool.name for tool in TOOLS.values() if tool.reads_only)
"""Names of the tools that change nothing."""


def choose_tools(names: Iterable[str] | None, *, yielding: bool = False) -> dict[str, Tool]:
    """Return the tools to offer, by name and in their usual order; None means all of them.

    Args:
        yielding: Commands that take long are answered as still running. Only then there is
            `sandbox_wait`; they are not where it is left out.

    Raises:
        InvalidRequestError: There is no tool of a name, or none is named, or `sandbox_wait` is,
            without what it goes on with.
    """
    wanted = _wanted(names, yielding=yielding)
    if WAIT in wanted and not (yielding and EXECUTE in wanted):
        needed = f"name {EXECUTE} too" if yielding else "set yield_seconds"
        raise InvalidRequestError(
            f"tools: {WAIT} goes on with commands of {EXECUTE} that are still running; {needed}."
        )
    chosen = {name: tool for name, tool in TOOLS.items() if name in wanted}
    return chosen | {EXECUTE: _YIELDING_EXECUTE} if WAIT in chosen else chosen


def _wanted(names: Iterable[str] | None, *, yielding: bool) -> set[str]:
    usual = [name for name in TOOLS if yielding or name != WAIT]
    if names is None:
        return set(usual)
    wanted = {names} if isinstance(names, str) else set(names)
    if unknown := sorted(wanted - TOOLS.keys()):
        raise InvalidRequestError(
            f"tools: there is no tool {shown(unknown[0])!r}. There are: {', '.join(usual)}."
        )
    if not wanted:
        raise InvalidRequestError(f"tools: name at least one of {', '.join(usual)}.")
    return wanted


def function_schemas(
    tools: Iterable[str] | None = None, *, strict: bool = False, yielding: bool = False
) -> list[dict[str, Any]]:
    """Return the tools as OpenAI's function schemas, for any model that takes those.

    Args:
        tools: Names of the tools to offer; all by default.
        strict: For `"strict": true`: all fields are required, and what may be left out may be null.
        yielding: As of tools with `yield_seconds`.
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
        for tool in choose_tools(tools, yielding=yielding).values()
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
