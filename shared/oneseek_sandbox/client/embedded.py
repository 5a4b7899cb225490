"""Sandboxes in this process: the provisioner itself, without HTTP between."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing, asynccontextmanager
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox import models
from oneseek_sandbox.auth import Caller
from oneseek_sandbox.client.sandboxes import AnswerT, Sandboxes
from oneseek_sandbox.client.streams import Download, Gap, Output
from oneseek_sandbox.control.assembly import open_provisioner
from oneseek_sandbox.control.cleanup import clean_up_every
from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.output import OutputDecoder
from oneseek_sandbox.workers import execution

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator

    from pydantic import BaseModel

    from oneseek_sandbox.client.uploads import LocalFile
    from oneseek_sandbox.control.provisioner import Provisioner
    from oneseek_sandbox.settings import Settings

__all__ = ["EmbeddedSandboxes"]


_OF_PROCESSES: Final = ("processes", "attach", "input", "signal")


class EmbeddedSandboxes(Sandboxes):
    """Sandboxes that this process makes, finds again and cleans up.

    They live on when the process ends, and another one with the same settings has them.
    """

    _works_here = True

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._caller = Caller("backend")
        self._provisioner: Provisioner | None = None
        self._cleaning: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect to the store, and test that sandboxes are isolated here.

        Raises:
            ConfigurationError: They would not be; the message says how to fix it.
            StoreUnavailableError: The store does not answer.
        """
        if self._provisioner is None:
            self._provisioner = await open_provisioner(self.settings)
            # A context of its own: a round is no part of whatever trace this is opened in.
            self._cleaning = asyncio.create_task(
                clean_up_every(self.settings.cleanup_interval_seconds, self.cleanup_idle),
                context=Context(),
            )

    async def close(self) -> None:
        """Let go of the store; sandboxes stay."""
        provisioner, self._provisioner = self._provisioner, None
        if self._cleaning is not None:
            self._cleaning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._cleaning
        if provisioner is not None:
            await provisioner.close()

    async def _list(self, request: models.SandboxesQuery) -> models.ListSandboxesAnswer:
        return await self._opened().list_sandboxes(self._caller, label=request.label)

    async def _call(self, verb: str, request: BaseModel, answer: type[AnswerT]) -> AnswerT:
        provisioner = self._opened()
        done: Any
        if not isinstance(request, models.ExecuteRequest):
            verbs = provisioner.processes if verb in _OF_PROCESSES else provisioner
            done = await getattr(verbs, verb)(request, self._caller)
        elif request.background:
            done = await provisioner.processes.start(request, self._caller)
        elif request.cancel is not None:
            done = await provisioner.cancel(request, self._caller)
        else:
            async with aclosing(provisioner.execute(request, self._caller)) as events:
                *_, done = [event async for event in events]
        assert isinstance(done, answer)  # noqa: S101 - a verb has one answer
        return done

    async def _stream(
        self, request: models.ExecuteRequest
    ) -> AsyncGenerator[Output | Gap | models.ExecuteAnswer, None]:
        decoder = OutputDecoder(request.encoding)
        running = self._opened().execute(request, self._caller, stream=True)
        async with aclosing(running) as events:
            async for event in events:
                for each in _events_of(event, decoder):
                    yield each

    async def _upload(
        self, target: models.WriteFileTarget, content: bytes | LocalFile | AsyncIterable[bytes]
    ) -> models.WriteFileAnswer:
        body = _one(content) if isinstance(content, bytes) else content
        return await self._opened().write_stream(target, self._caller, body)

    @asynccontextmanager
    async def _download(self, request: models.ReadFileRequest) -> AsyncIterator[Download]:
        async with self._opened().open_file(request, self._caller) as file:
            meta = file.meta
            yield Download(meta.size, meta.sha256, meta.total_lines, meta.truncated, file.chunks)

    def _opened(self) -> Provisioner:
        if self._provisioner is None:
            raise ConfigurationError(
                "These sandboxes are not open: use 'async with', or call open() first."
            )
        return self._provisioner


def _events_of(
    event: execution.Started | execution.Piece | execution.Gap | models.ExecuteAnswer,
    decoder: OutputDecoder,
) -> Iterator[Output | Gap | models.ExecuteAnswer]:
    match event:
        case execution.Piece(stream, data):
            yield from (Output(*decoded) for decoded in decoder.feed(stream, data))
        case execution.Gap(stream, count):
            yield from (Output(*decoded) for decoded in decoder.break_off(stream))
            yield Gap(stream, count)
        case models.ExecuteAnswer():
            yield from (Output(*decoded) for decoded in decoder.end())
            yield event


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
