"""Results within their limits, refusals, and paths as the verbs write them."""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = ["REASONS", "Found", "Refused", "decoded", "encoded", "kernel_devices", "text_of"]

_PREFIX = "base64:"
REASONS = {
    errno.ENOENT: "file_not_found",
    errno.ENOTDIR: "not_a_directory",
    errno.EACCES: "permission_denied",
    errno.EPERM: "permission_denied",
}


class Refused(Exception):  # noqa: N818 - an answer rather than a fault
    """Ends the program with an answer that says why nothing was done."""


class Found:
    """Results within their limits: how many, how many bytes of answer, and until when."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.results: list[Any] = []
        self.cut = ""
        self._most = request["max_results"]
        self._bytes = request["max_bytes"]
        self._deadline = time.monotonic() + request["seconds"]

    def add(self, result: object) -> None:
        """Keep a result, unless it is one too many."""
        self._bytes -= len(json.dumps(result)) + 2
        if self._bytes < 0 or len(self.results) == self._most:
            self.cut = "budget"
        else:
            self.results.append(result)

    def is_over(self) -> bool:
        """Tell whether to stop."""
        if time.monotonic() > self._deadline:
            self.cut = "budget"
        return self.cut == "budget"


def kernel_devices() -> set[int]:
    """Return the devices of /proc and /sys, whose files the kernel makes up."""
    found = set()
    for path in ("/proc", "/sys"):
        with contextlib.suppress(OSError):
            found.add(os.stat(path).st_dev)
    return found - {os.stat("/").st_dev}


def encoded(path: bytes) -> str:
    """Return a path as the verbs write it."""
    try:
        return path.decode()
    except UnicodeDecodeError:
        return _PREFIX + base64.b64encode(path).decode()


def decoded(text: str) -> bytes:
    """Return the bytes of a path as the verbs write it."""
    if text.startswith(_PREFIX):
        return base64.b64decode(text[len(_PREFIX) :])
    return text.encode()


def text_of(name: bytes) -> str:
    """Return a name as text that can be turned back."""
    return name.decode("utf-8", "surrogateescape")
