"""The answer of an execute: output as it comes, what did not come, and how the command ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.workers.bodies import read_lines
from oneseek_sandbox.workers.failures import broken
from oneseek_sandbox.workers.replies import Ended, Exit, Printed, parse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from oneseek_sandbox.output import StreamName
    from oneseek_sandbox.workers.request import Answer

__all__ = ["ALL_OUTPUT", "TAIL_BYTES", "Execution", "Gap", "Piece", "Started"]

ALL_OUTPUT: Final = 10**17
"""More than any command prints."""
TAIL_BYTES: Final = 64 * 1024
"""What a stream brings of the end, when it does not bring everything."""
_END_SECONDS: Final = 1.0
# How long after its own deadline a command is waited for; ending it takes the worker some seconds.
_OVERDUE_SECONDS: Final = 15.0
# Beside what was asked for, a line may hold both tails, in base64.
_LINE_BYTES: Final = 65_536 + 4 * TAIL_BYTES


@dataclass(frozen=True, slots=True)
class Started:
    """The command runs, also while it prints nothing."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some output of a running command, as it was printed."""

    stream: StreamName
    data: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes that were printed and are not in the stream; what follows is the end of the output."""

    stream: StreamName
    bytes: int


class Execution:
    """One execute under way.

    Args:
        live_bytes: How much of stdout, and of stderr, comes as it is printed.

    Attributes:
        seconds: How long the worker may take in all.
        ended: How the command ended, once the worker has said so.
    """

    def __init__(self, request: dict[str, Any], live_bytes: int | None) -> None:
        self.seconds = (request["timeout_ms"] + request["grace_ms"]) / 1000 + _OVERDUE_SECONDS
        self.ended: Exit | None = None
        self._is_stream = bool(request["stream"])
        self._is_repeatable = request.get("request_id") is not None
        self._kept_bytes: int = request["max_output_bytes"]
        self._live_bytes = live_bytes or self._kept_bytes
        self._came: dict[StreamName, int] = {"stdout": 0, "stderr": 0}

    @property
    def headers(self) -> dict[str, str]:
        """What the worker is told beside the request; one of before this header ignores it."""
        return {"x-live-bytes": str(self._live_bytes)} if self._is_stream else {}

    async def pieces(self, response: Answer) -> AsyncGenerator[Started | Piece, None]:
        """Yield that it has started when it is a stream, then output until the command has ended.

        Raises:
            SandboxUnavailableError: The answer breaks off, or is not one of a worker.
        """
        if self._is_stream:
            yield Started()
        lines = read_lines(response, 4 * self._kept_bytes + _LINE_BYTES, self.seconds)
        room = 2 * self._live_bytes
        async for line in lines:
            event = _event(line)
            if isinstance(event, Exit):
                self.ended = event
                break
            room -= max(1, len(event.data))
            if room < 0:
                raise broken("printed more than it may")
            self._came[event.stream] += len(event.data)
            yield event
        # Only a connection that is read to its end can be used again.
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                async for _ in lines:
                    pass
        if self.ended is None:
            raise broken("ended its answer before it said how the command ended")

    def end(self) -> Iterator[Piece | Gap | Exit]:
        """Give what a stream has not brought: how much that is, the last of it, and the answer."""
        ended = self.ended
        assert ended is not None  # noqa: S101 - `pieces` ended without an error
        # A repeated request_id gets the answer alone.
        if self._is_stream and (any(self._came.values()) or not self._is_repeatable):
            kept: dict[StreamName, Any] = {"stdout": ended.stdout, "stderr": ended.stderr}
            for name, output in kept.items():
                tail = (output.head if output.is_whole else b"") + output.tail
                tail = tail[-TAIL_BYTES:]
                begin = max(self._came[name], output.bytes - len(tail))
                if begin > self._came[name]:
                    yield Gap(name, begin - self._came[name])
                if begin < output.bytes:
                    yield Piece(name, tail[begin - output.bytes :])
        yield ended.within(self._kept_bytes)


def _event(line: bytes) -> Piece | Exit:
    """Read one line of an execute's answer."""
    if line.startswith(b'{"exit"'):
        return parse(Ended, line).exit
    printed = parse(Printed, line)
    if printed.stderr is not None:
        return Piece("stderr", printed.stderr)
    return Piece("stdout", printed.stdout or b"")
