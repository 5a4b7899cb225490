"""The keywords of calls, said once for `Sandboxes` (with a reference to a sandbox) and `ThreadSandbox` (without).

`oneseek_sandbox.models` says what each means, with units and ranges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from oneseek_sandbox.models.fields import Encoding, Terminal, WindowSize

__all__ = [
    "AcquireFields",
    "AttachFields",
    "AttachOptions",
    "DownloadFields",
    "DownloadOptions",
    "ExecuteFields",
    "ExecuteOptions",
    "InputFields",
    "InputOptions",
    "ListFields",
    "ListOptions",
    "LsFields",
    "LsOptions",
    "ReadFields",
    "ReadOptions",
    "Reference",
    "ReplaceFields",
    "ReplaceOptions",
    "SignalFields",
    "SignalOptions",
    "StartFields",
    "StartOptions",
    "UploadFields",
    "UploadOptions",
    "WriteFields",
    "WriteOptions",
]


class Reference(TypedDict, total=False):
    """Which sandbox: by `sandbox_id`, or by `thread_id` with an optional `scope`."""

    sandbox_id: str | None
    thread_id: str | None
    scope: str | None


class AcquireFields(TypedDict, total=False):
    """Of `AcquireRequest`."""

    scope: str | None
    idle_timeout_seconds: int | None
    labels: dict[str, str] | None
    env: dict[str, str] | None


class ExecuteOptions(TypedDict, total=False):
    """Of `ExecuteRequest`."""

    cwd: str | None
    env: dict[str, str] | None
    stdin: str | None
    stdin_encoding: Encoding
    stdin_path: str | None
    timeout_seconds: float | None
    max_output_bytes: int | None
    overflow: Literal["keep_ends", "error"]
    stream_all: bool
    request_id: str | None
    encoding: Encoding


class StartOptions(TypedDict, total=False):
    """Of `ExecuteRequest`, for a process in the background."""

    cwd: str | None
    env: dict[str, str] | None
    stdin: str | None
    stdin_encoding: Encoding
    stdin_path: str | None
    stdin_open: bool
    terminal: Terminal | dict[str, int | str] | None
    timeout_seconds: float | None
    max_output_bytes: int | None
    request_id: str | None


class ListOptions(TypedDict, total=False):
    """Of `ProcessesRequest`."""

    request_id: str | None
    state: Literal["running", "exited", "lost"] | None
    limit: int
    cursor: str | None


class AttachOptions(TypedDict, total=False):
    """Of `AttachRequest`."""

    offset: int | Literal["end"]
    max_bytes: int
    encoding: Encoding


class InputOptions(TypedDict, total=False):
    """Of `InputRequest`."""

    close: bool
    encoding: Encoding
    resize: WindowSize | dict[str, int] | None


class SignalOptions(TypedDict, total=False):
    """Of `SignalRequest`."""

    to: Literal["all", "main", "foreground"]


class LsOptions(TypedDict, total=False):
    """Of `LsRequest`."""

    depth: int
    limit: int
    cursor: str | None


class DownloadOptions(TypedDict, total=False):
    """Of `ReadFileRequest`."""

    start_line: int | None
    end_line: int | None
    offset: int | None
    limit: int | None


class ReadOptions(DownloadOptions, total=False):
    """Of `ReadFileRequest`."""

    encoding: Encoding | None


class UploadOptions(TypedDict, total=False):
    """Of `WriteFileTarget`."""

    append: bool
    create_only: bool
    if_sha256: str | None
    mode: str | None
    sync: bool


class WriteOptions(UploadOptions, total=False):
    """Of `WriteFileRequest`."""

    encoding: Encoding


class ReplaceOptions(TypedDict, total=False):
    """Of `ReplaceRequest`."""

    replace_all: bool
    if_sha256: str | None


class ExecuteFields(ExecuteOptions, Reference, total=False):
    """With a name."""


class LsFields(LsOptions, Reference, total=False):
    """With a name."""


class DownloadFields(DownloadOptions, Reference, total=False):
    """With a name."""


class ReadFields(ReadOptions, Reference, total=False):
    """With a name."""


class UploadFields(UploadOptions, Reference, total=False):
    """With a name."""


class WriteFields(WriteOptions, Reference, total=False):
    """With a name."""


class ReplaceFields(ReplaceOptions, Reference, total=False):
    """With a name."""


class StartFields(Reference, StartOptions, total=False):
    """Of `ExecuteRequest`, for a process in the background."""


class ListFields(Reference, ListOptions, total=False):
    """Of `ProcessesRequest`."""


class AttachFields(Reference, AttachOptions, total=False):
    """Of `AttachRequest`."""


class InputFields(Reference, InputOptions, total=False):
    """Of `InputRequest`."""


class SignalFields(Reference, SignalOptions, total=False):
    """Of `SignalRequest`."""
