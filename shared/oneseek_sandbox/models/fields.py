"""The kinds of fields that requests have, checked one by one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

__all__ = [
    "DEFAULT_SCOPE",
    "Encoding",
    "EnvironmentName",
    "Path",
    "RequestId",
    "SandboxId",
    "Scope",
    "Sha256",
    "ThreadId",
]

DEFAULT_SCOPE = "default"


def _without_control_characters(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must not contain control characters")
    return value


def _environment_name(value: str) -> str:
    if not value or "=" in value:
        raise ValueError("names of environment variables are not empty and have no '='")
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
EnvironmentName = Annotated[str, AfterValidator(_environment_name)]
