"""Requests and answers of the eight verbs, as they are on the wire.

Models are strict (no string becomes a number), frozen, and refuse unknown fields. Numbers above a
limit are refused, never clamped; limits that settings decide are checked by the provisioner.
"""

from __future__ import annotations

from oneseek_sandbox.models.answers import (
    AcquireAnswer,
    CancelAnswer,
    CleanupIdleAnswer,
    DirectoryEntry,
    ExecuteAnswer,
    ListedSandbox,
    ListSandboxesAnswer,
    LsAnswer,
    ReadFileAnswer,
    ReleaseAnswer,
    ReplaceAnswer,
    WriteFileAnswer,
)
from oneseek_sandbox.models.fields import DEFAULT_SCOPE
from oneseek_sandbox.models.processes import (
    AttachAnswer,
    AttachRequest,
    GapEvent,
    InputAnswer,
    InputRequest,
    InputTarget,
    LogAnswer,
    OutputEvent,
    ProcessAnswer,
    ProcessesAnswer,
    ProcessesRequest,
    SignalAnswer,
    SignalRequest,
    StartedAnswer,
)
from oneseek_sandbox.models.requests import (
    AcquireRequest,
    CleanupIdleRequest,
    ExecuteRequest,
    LsRequest,
    ReadFileRequest,
    ReleaseRequest,
    ReplaceRequest,
    SandboxesQuery,
    SandboxReference,
    WriteFileRequest,
    WriteFileTarget,
)

__all__ = [
    "DEFAULT_SCOPE",
    "AcquireAnswer",
    "AcquireRequest",
    "AttachAnswer",
    "AttachRequest",
    "CancelAnswer",
    "CleanupIdleAnswer",
    "CleanupIdleRequest",
    "DirectoryEntry",
    "ExecuteAnswer",
    "ExecuteRequest",
    "GapEvent",
    "InputAnswer",
    "InputRequest",
    "InputTarget",
    "ListSandboxesAnswer",
    "ListedSandbox",
    "LogAnswer",
    "LsAnswer",
    "LsRequest",
    "OutputEvent",
    "ProcessAnswer",
    "ProcessesAnswer",
    "ProcessesRequest",
    "ReadFileAnswer",
    "ReadFileRequest",
    "ReleaseAnswer",
    "ReleaseRequest",
    "ReplaceAnswer",
    "ReplaceRequest",
    "SandboxReference",
    "SandboxesQuery",
    "SignalAnswer",
    "SignalRequest",
    "StartedAnswer",
    "WriteFileAnswer",
    "WriteFileRequest",
    "WriteFileTarget",
]
