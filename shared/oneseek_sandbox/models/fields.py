"""The kinds of fields that requests have, checked one by one."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "DEFAULT_SCOPE",
    "Encoding",
    "Environment",
    "EnvironmentName",
    "Labels",
    "Path",
    "RequestId",
    "SandboxId",
    "Scope",
    "Sha256",
    "Terminal",
    "ThreadId",
    "WindowSize",
]

DEFAULT_SCOPE = "default"


_MOST_ENV_BYTES: Final = 65_536
_MOST_LABELS: Final = 16
_LONGEST_KEY: Final = 63
_LONGEST_VALUE: Final = 256


def _without_control_characters(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must not contain control characters")
    return value


def _environment_name(value: str) -> str:
    if not value or "=" in value:
        raise ValueError("names of environment variables are not empty and have no '='")
    return value


def _environment(value: object) -> object:
    """Refuse what no process can have; the text names no variable, as it may be logged."""
    if not isinstance(value, dict):
        return value
    if not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise ValueError("names and values of environment variables are text")
    if not all(name and "=" not in name for name in value):
        raise ValueError("names of environment variables are not empty and have no '='")
    size = sum(len(part.encode()) for pair in value.items() for part in pair)
    if size > _MOST_ENV_BYTES:
        raise ValueError(
            f"{size} bytes of names and values, of {_MOST_ENV_BYTES} at most; write a file instead"
        )
    return value


def _labels(value: dict[str, str]) -> dict[str, str]:
    if len(value) > _MOST_LABELS:
        raise ValueError(f"{len(value)} labels, of {_MOST_LABELS} at most")
    for name, text in value.items():
        if not 1 <= len(name.encode()) <= _LONGEST_KEY or "=" in name:
            raise ValueError(f"a key has 1 to {_LONGEST_KEY} bytes and no '='")
        if len(text.encode()) > _LONGEST_VALUE:
            raise ValueError(f"a value has at most {_LONGEST_VALUE} bytes")
        _without_control_characters(name + text)
    return value


ThreadId = Annotated[
    str, Field(min_length=1, max_length=256), AfterValidator(_without_control_characters)
]
Scope = Annotated[
    str, Field(min_length=1, max_length=128), AfterValidator(_without_control_characters)
]
SandboxId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
RequestId = Annotated[
    str, Field(min_length=1, max_length=128), AfterValidator(_without_control_characters)
]
Path = Annotated[str, Field(min_length=1, max_length=4096)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Encoding = Literal["utf-8", "base64"]
Environment = Annotated[dict[str, str], BeforeValidator(_environment)]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]
EnvironmentName = Annotated[str, AfterValidator(_environment_name)]
_Side = Annotated[int, Field(ge=1, le=1000)]


class WindowSize(BaseModel):
    """The size of a terminal: columns and rows, 1 to 1000 each."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", defer_build=True)

    columns: _Side
    rows: _Side


class Terminal(WindowSize):
    """A terminal for a process.

    Attributes:
        term: Its kind, which becomes the variable TERM.
    """

    term: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9+._-]{0,63}$")] = "xterm-256color"
