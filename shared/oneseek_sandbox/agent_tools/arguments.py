"""What a model may say to each tool.

No field names a thread or a tenant: those are the backend's, and a model could be talked into
somebody else's.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "ExecuteArguments",
    "LsArguments",
    "ReadFileArguments",
    "ReleaseArguments",
    "ReplaceArguments",
    "WaitArguments",
    "WriteFileArguments",
]

_LONGEST_PATH: Final = 4096
_LONGEST_COMMAND: Final = 1_048_576

_FilePath = Annotated[
    str,
    Field(
        min_length=1,
        max_length=_LONGEST_PATH,
        description="Absolute path of the file, below /workspace.",
    ),
]


class _Arguments(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", defer_build=True)


class ExecuteArguments(_Arguments):
    """Of `sandbox_execute`."""

    command: Annotated[
        str,
        Field(
            min_length=1,
            max_length=_LONGEST_COMMAND,
            description="Shell command line, for bash where there is one, else sh. Standard input is "
            "empty.",
        ),
    ]
    cwd: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=_LONGEST_PATH,
            description="Working directory, an absolute path. Default: /workspace.",
        ),
    ] = None
    timeout_seconds: Annotated[
        float | None,
        Field(
            ge=0.1,
            allow_inf_nan=False,
            description="The command is killed after this many seconds. Default: a short time, "
            "mostly 30. Give more to builds, installs and long tests.",
        ),
    ] = None


class WaitArguments(_Arguments):
    """Of `sandbox_wait`."""

    request_id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=128,
            description="The request_id from the result that said 'still running'.",
        ),
    ]
    stop: Annotated[
        bool,
        Field(description="Kill the command and its child processes, and return how it ended."),
    ] = False
    wait_seconds: Annotated[
        float | None,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="Return after at most this many seconds; 0 returns at once. Default, and "
            "maximum: the time after which sandbox_execute returns 'still running'.",
        ),
    ] = None


class LsArguments(_Arguments):
    """Of `sandbox_ls`."""

    path: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=_LONGEST_PATH,
            description="Absolute path of the directory. Default: /workspace.",
        ),
    ] = None
    depth: Annotated[
        int, Field(ge=1, le=32, description="1 lists the directory itself, 2 its directories too.")
    ] = 1
    cursor: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=16_384,
            description="Only to go on with a list that was cut: the cursor that it ended with.",
        ),
    ] = None


class ReadFileArguments(_Arguments):
    """Of `sandbox_read_file`."""

    path: _FilePath
    start_line: Annotated[
        int | None, Field(ge=1, description="First line to read; 1 is the first of the file.")
    ] = None
    end_line: Annotated[
        int | None, Field(ge=1, description="Last line to read. Default: the end of the file.")
    ] = None
    line_numbers: Annotated[
        bool,
        Field(description="Put its number and a tab before each line. They are not in the file."),
    ] = False


class WriteFileArguments(_Arguments):
    """Of `sandbox_write_file`."""

    path: _FilePath
    content: Annotated[str, Field(description="The exact text that the file is to have.")]
    append: Annotated[
        bool, Field(description="Add the text to the end instead of replacing the whole file.")
    ] = False


class ReplaceArguments(_Arguments):
    """Of `sandbox_replace`."""

    path: _FilePath
    old: Annotated[
        str,
        Field(
            min_length=1,
            description="The text to replace, exactly as in the file with all its whitespace, and "
            "without line numbers. It must occur exactly once, unless replace_all is true.",
        ),
    ]
    new: Annotated[str, Field(description="The replacement text; may be empty.")]
    replace_all: Annotated[bool, Field(description="Replace every occurrence.")] = False


class ReleaseArguments(_Arguments):
    """Of `sandbox_release`: none."""
