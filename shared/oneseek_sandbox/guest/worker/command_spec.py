"""What an execute request asks for."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError
from oneseek_sandbox.guest.worker.digest import sha256
from oneseek_sandbox.guest.worker.fields import encode_json, utf8
from oneseek_sandbox.guest.worker.paths import MAX_PATH
from oneseek_sandbox.guest.worker.terminal import TerminalSpec

if TYPE_CHECKING:
    from typing import Any

    from oneseek_sandbox.guest.worker.fields import Fields

__all__ = [
    "LOG_BYTES",
    "MAX_LOG_BYTES",
    "MAX_OUTPUT_BYTES",
    "TAIL_BYTES",
    "CommandSpec",
    "environment",
]

LOG_BYTES = 1024 * 1024
MAX_LOG_BYTES = 16 * 1024 * 1024
TAIL_BYTES = 64 * 1024
MAX_OUTPUT_BYTES = 64 * 1024 * 1024


class CommandSpec:
    """What an execute request asks for.

    Args:
        live: The header that says how much of each output goes into a stream; a worker of before
            it, which refuses fields that it does not know, leaves it alone.
    """

    def __init__(self, fields: Fields, live: str | None = None) -> None:
        self.command = self._command(fields.raw("command"))
        self.cwd = fields.optional_text("cwd", limit=MAX_PATH)
        self.env = environment(fields.raw("env"))
        self.stdin = self._stdin(fields)
        self.stdin_path = fields.optional_text("stdin_path", limit=MAX_PATH)
        self.background = fields.flag("background")
        self.stdin_open = fields.flag("stdin_open")
        terminal = fields.raw("terminal")
        self.terminal = None if terminal is None else TerminalSpec(terminal)
        self.log_bytes = fields.integer("log_bytes", 1, MAX_LOG_BYTES, LOG_BYTES)
        self.timeout_ms = fields.optional_integer("timeout_ms", 1, 86_400_000)
        self.grace_ms = fields.integer("grace_ms", 0, 600_000, 1000)
        self.max_output_bytes = fields.integer("max_output_bytes", 1, MAX_OUTPUT_BYTES)
        self.request_id = fields.optional_text("request_id", limit=128)
        self.stream = fields.flag("stream")
        fields.close()
        self._check()
        if live is not None and not (live.isascii() and live.isdigit() and len(live) <= 18):
            raise WorkerError("invalid_request", "x-live-bytes must be a number.")
        self.live_bytes = self.max_output_bytes if live is None else int(live)
        self.least_tail = TAIL_BYTES if self.stream and live is not None else 0

    def _check(self) -> None:
        """Refuse fields that do not go together."""
        if self.terminal is not None and not (self.background and self.stdin_open):
            raise WorkerError("invalid_request", "terminal needs background and stdin_open.")
        if self.background and self.request_id is None:
            raise WorkerError("invalid_request", "A background process needs a request_id.")
        if self.timeout_ms is None and not self.background:
            raise WorkerError("invalid_request", "timeout_ms must be given.")
        inputs = (self.stdin is not None, self.stdin_path is not None, self.stdin_open)
        if sum(inputs) > 1:
            raise WorkerError("invalid_request", "Give one of stdin, stdin_path and stdin_open.")
        if self.stdin_open and self.request_id is None:
            raise WorkerError("invalid_request", "stdin_open needs a request_id.")

    def fingerprint(self) -> bytes:
        """Return what makes two requests under one id the same, in the background or not."""
        values: list[Any] = [self.command, self.cwd, sorted(self.env.items())]
        values += [self.timeout_ms, self.grace_ms, self.max_output_bytes]
        if self.stdin_path is not None:
            values.append(self.stdin_path)
        if self.stdin_open:
            values.append({"stdin_open": True})
        if self.terminal is not None:
            values.append({"terminal": [*self.terminal.size, self.terminal.term]})
        stdin = b"-" if self.stdin is None else b"+" + self.stdin
        return sha256(encode_json(values) + b"\n" + stdin).digest()

    @staticmethod
    def _stdin(fields: Fields) -> bytes | None:
        text = fields.optional_text("stdin")
        encoding = fields.text("stdin_encoding", "utf-8", limit=16)
        if encoding not in ("utf-8", "base64"):
            raise WorkerError("invalid_request", "stdin_encoding must be utf-8 or base64.")
        if text is None or encoding == "utf-8":
            return None if text is None else utf8(text, "stdin")
        try:
            return binascii.a2b_base64(utf8(text, "stdin"))
        except binascii.Error:
            raise WorkerError("invalid_request", "stdin is not valid base64.") from None

    @staticmethod
    def _command(value: object) -> str | list[str]:
        parts = [value] if isinstance(value, str) else value
        if not isinstance(parts, list) or not parts or not parts[0]:
            raise WorkerError("invalid_request", "command must be text or a list of texts.")
        for part in parts:
            if not isinstance(part, str) or "\0" in part:
                raise WorkerError("invalid_request", "command must be text without NUL.")
            utf8(part, "command")
        return parts[0] if isinstance(value, str) else parts


def environment(value: object) -> dict[str, str]:
    """Return the variables that a request has for commands, none when it says nothing of them."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WorkerError("invalid_request", "env must be an object of texts.")
    for name, text in value.items():
        if not name or "=" in name or "\0" in name:
            raise WorkerError("invalid_request", f"env has the impossible name {name!r}.")
        if not isinstance(text, str) or "\0" in text:
            raise WorkerError("invalid_request", f"env {name} must be text without NUL.")
        utf8(name + text, "env")
    return value
