"""A worker that answers what a test tells it to: the honest protocol, or anything else."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["ScriptedWorker", "WorkerCall", "exit_line", "http_answer"]


def http_answer(body: bytes, *, status: int = 200, headers: str = "") -> bytes:
    """Return a whole HTTP answer."""
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def exit_line(**fields: object) -> bytes:
    """Return the last line of an execute's answer."""
    output = {"head": "", "tail": "", "bytes": 0}
    ended = {
        "exit_code": 0,
        "timed_out": False,
        "killed_by": None,
        "duration_ms": 1,
        "background": False,
        "stdout": output,
        "stderr": output,
        **fields,
    }
    return json.dumps({"exit": ended}).encode() + b"\n"


@dataclass(slots=True)
class WorkerCall:
    """One request that reached the worker, and the way to answer it."""

    path: str
    query: dict[str, list[str]]
    body: dict[str, Any]
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, value: object, status: int = 200) -> None:
        await self.send(http_answer(json.dumps(value).encode(), status=status))


@dataclass(slots=True)
class ScriptedWorker:
    """Listens on a port of its own; `scripts` replace the honest answer of a path.

    Attributes:
        uid: The sandbox it says that it was started for; workers of before do not say.
        empty: Whether it says that nothing is in its workspace.
        features: What it says that it knows; workers of before do not say.
        env: The variables it was claimed with last; None before.
        dropped: Is set when a client closes its connection.
    """

    scripts: dict[str, Callable[[WorkerCall], Awaitable[None]]] = field(default_factory=dict)
    boot_id: str = field(default_factory=lambda: secrets.token_hex(16))
    token: str = ""
    uid: str = ""
    empty: bool = False
    features: list[str] | None = None
    env: dict[str, str] | None = None
    env_version: int = 0
    generation: int = 0
    paths: list[str] = field(default_factory=list)
    dropped: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"tcp:127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                await self._serve_one(reader, writer)
        self.dropped.set()
        writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        length = int(headers.get("content-length", "0"))
        body = await reader.readexactly(length)
        target = urlsplit(head[0].split(" ")[1])
        self.paths.append(target.path)
        fields = json.loads(body) if body.startswith(b"{") else {}
        call = WorkerCall(target.path, parse_qs(target.query), fields, writer)
        script = self.scripts.get(target.path)
        if script is None:
            await self._honest(call)
            return
        # What the client does meanwhile is seen too: it may close the connection.
        answering = asyncio.ensure_future(script(call))
        closing = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({answering, closing}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            answering.cancel()
            raise asyncio.IncompleteReadError(b"", None)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)

    async def _honest(self, call: WorkerCall) -> None:
        if call.path == "/proof":
            text = f"{call.query['nonce'][0]}:{self.boot_id}"
            proof = hmac.new(self.token.encode(), text.encode(), hashlib.sha256).hexdigest()
            proved = {"claimed": True, "restarted": False, "boot_id": self.boot_id, "proof": proof}
            named = {"uid": self.uid} if self.uid else {}
            await call.answer({"protocol": 1, **proved, **named})
        elif call.path == "/claim":
            self.token = call.body["token"]
            if call.body["generation"] > self.generation:
                self.generation, self.env_version = call.body["generation"], 0
            if "env" in call.body:
                self.env, self.env_version = call.body["env"], call.body["env_version"]
            said = {} if self.features is None else {"features": self.features}
            await call.answer({"protocol": 1, "boot_id": self.boot_id, "empty": self.empty, **said})
        elif call.path == "/execute":
            await call.send(http_answer(exit_line()))
        elif call.path == "/cancel":
            await call.answer({"cancelled": True})
        else:
            await call.answer({"commands": 0, "processes": 0, "env_version": self.env_version})
