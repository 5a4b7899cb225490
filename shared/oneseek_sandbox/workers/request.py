"""What is asked of a worker, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable

    from oneseek_sandbox.workers.wire import Wire

__all__ = ["Answer", "Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a worker.

    Attributes:
        content: The body, or its pieces as they come.
        write_seconds: How long the worker may take no piece of it.
        read_seconds: How long it may say nothing.
    """

    method: str
    target: str
    headers: Iterable[tuple[str, str]] = ()
    content: bytes | AsyncIterable[bytes] = b""
    write_seconds: float = 30.0
    read_seconds: float = 30.0

    def head(self) -> bytes:
        """Return request line and headers."""
        lines = [f"{self.method} {self.target} HTTP/1.1", "host: worker"]
        if not isinstance(self.content, bytes):
            lines.append("transfer-encoding: chunked")
        elif self.content or self.method != "GET":
            lines.append(f"content-length: {len(self.content)}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a line of a request holds the end of a line")
        return "\r\n".join([*lines, "", ""]).encode()


@dataclass(slots=True)
class Answer:
    """What a worker answers: its head, and the body as it comes."""

    wire: Wire
    read_seconds: float
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes; ends when it is whole."""
        while (piece := await self.wire.next_piece(self.read_seconds)) is not None:
            yield piece
