"""Commands of one thread whose calls are answered before they have ended: each goes on by its id.

The call of the service goes on in a task of its own, so that its answer, and its hint, are there
when the command has ended. Whoever has the `request_id` alone asks the sandbox's own list.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from oneseek_sandbox.agent_tools import answers, shaping
from oneseek_sandbox.agent_tools.printed import last_line, read_printed
from oneseek_sandbox.agent_tools.results import ToolResult
from oneseek_sandbox.errors import ProcessEndedError, RequestIdsExhaustedError, SandboxError
from oneseek_sandbox.lasting import Lasting, cut
from oneseek_sandbox.recent import Recent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from oneseek_sandbox.agent_tools.arguments import ExecuteArguments, WaitArguments
    from oneseek_sandbox.agent_tools.printed import Printed, ReadLog
    from oneseek_sandbox.client.settings import BackendSettings
    from oneseek_sandbox.client.thread import ThreadSandbox
    from oneseek_sandbox.models import ExecuteAnswer

__all__ = ["Commands", "OnLine"]

OnLine: TypeAlias = "Callable[[str], Awaitable[None]]"
"""Is told about once a second the last line that a running command has printed, as it is."""

_REMEMBERED: Final = 100
_LINE_SECONDS: Final = 1.0
_READ_SECONDS: Final = 8.0
"""How long the reading of output may delay an answer that has waited already."""
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 1.0
_END_SECONDS: Final = 10.0


@dataclass(slots=True)
class _Command:
    """A command that may go on.

    Attributes:
        task: The call that started it; None when this process does not have it.
        told: Position in its output after what answers have told.
        is_over: That it has ended was told.
    """

    request_id: str
    task: asyncio.Task[ExecuteAnswer] | None = None
    told: int = 0
    is_over: bool = False
    began: float = field(default_factory=time.monotonic)


class Commands:
    """The commands of one thread.

    Args:
        yield_seconds: After how long a call is answered although its command still runs; None
            waits to the end.
    """

    def __init__(
        self, sandbox: ThreadSandbox, settings: BackendSettings, yield_seconds: float | None
    ) -> None:
        self._sandbox = sandbox
        self._settings = settings
        self._most = settings.sandbox_max_output_bytes
        self._yield_seconds = yield_seconds
        self._known: Recent[str, _Command] = Recent(_REMEMBERED)
        self._unanswered: dict[str, _Command] = {}
        self._calls = Lasting()
        self._endings = Lasting()

    async def close(self) -> None:
        """End the commands of calls that were not answered; what was told as running goes on."""
        for command in list(self._unanswered.values()):
            self._give_up(command)
        await self._endings.close()
        await self._calls.close(within_seconds=0)

    async def execute(self, given: ExecuteArguments, on_line: OnLine | None) -> ToolResult:
        """Run a command to its end, or for a while; a cancelled call ends it."""
        if self._yield_seconds is None and on_line is None:
            return self._executed(await self._call(given, None))
        command = self._begin(given)
        self._unanswered[command.request_id] = command
        try:
            async with self._reporting(command, on_line):
                ended = await self._ended(command, self._yield_seconds)
            if ended is not None:
                return self._executed(ended)
            self._known[command.request_id] = command
            return await self._told(command, 0, None)
        except RequestIdsExhaustedError:
            # Nothing was run; what has no id needs no room for one.
            return self._executed(await self._call(given, None))
        except asyncio.CancelledError:
            self._give_up(command)
            raise
        finally:
            self._unanswered.pop(command.request_id, None)

    async def wait(self, given: WaitArguments, on_line: OnLine | None) -> ToolResult:
        """Go on with a command; a cancelled call leaves it alone, unless it was to be stopped."""
        command = self._known.get(given.request_id) or _Command(given.request_id)
        # Whoever asks again after its end has not got, or has lost, what was told.
        start = 0 if command.is_over else command.told
        seconds = self._yield_seconds
        if given.wait_seconds is not None:
            seconds = given.wait_seconds if seconds is None else min(seconds, given.wait_seconds)
        if given.stop:
            await self._stop(command)
            seconds = _END_SECONDS
        ended = None
        async with self._reporting(command, on_line):
            if command.task is not None:
                ended = await self._ended(command, seconds)
            if command.task is None:
                await self._watch(command, seconds)
        result = await self._told(command, start, ended, is_stopped=given.stop)
        self._known[command.request_id] = command
        return result

    async def _stop(self, command: _Command) -> None:
        """End a command, or what it has left running when it has ended by itself."""
        task = command.task
        if task is None:
            # Looked up before, as not every name of a cancel is a command's.
            found = await self._sandbox.output(command.request_id, offset="end", max_bytes=1)
            if found.process.state == "running":
                await self._sandbox.cancel(command.request_id)
            left = found.process.leftover
        elif task.done():
            left = not task.cancelled() and task.exception() is None and task.result().background
        else:
            await self._endings.see_through(self._end(command))
            left = False
        if left:
            with suppress(ProcessEndedError):
                await self._sandbox.signal(command.request_id, "KILL")

    def _give_up(self, command: _Command) -> None:
        """End a command that nobody waits for any more; not here, where every await is cancelled."""
        if command.task is not None:
            self._endings.begin(self._end(command))

    async def _end(self, command: _Command) -> None:
        """End a command, also one that is just being started."""
        task = command.task
        assert task is not None  # noqa: S101 - see the callers
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                while not task.done() and (acquired := self._sandbox.acquired) is not None:
                    with suppress(SandboxError):
                        await self._sandbox.sandboxes.cancel(
                            command.request_id, sandbox_id=acquired.sandbox_id
                        )
                    await asyncio.wait({task}, timeout=_FIRST_PAUSE_SECONDS)
        await cut(task)

    def _begin(self, given: ExecuteArguments) -> _Command:
        request_id = secrets.token_hex(8)
        task = self._calls.begin(self._call(given, request_id))
        # Its error is told to whoever asks; if nobody does, it is no fault of this program.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return _Command(request_id, task)

    async def _call(self, given: ExecuteArguments, request_id: str | None) -> ExecuteAnswer:
        limit = given.timeout_seconds
        return await self._sandbox.execute(
            given.command,
            cwd=given.cwd,
            timeout_seconds=self._settings.sandbox_timeout_seconds if limit is None else limit,
            max_output_bytes=self._most,
            request_id=request_id,
        )

    async def _ended(self, command: _Command, seconds: float | None) -> ExecuteAnswer | None:
        """Wait for the answer of a command; None when it still runs after so many seconds."""
        task = command.task
        assert task is not None  # noqa: S101 - see the callers
        if not task.done():
            await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            return None
        if not task.cancelled() and task.exception() is None:
            return task.result()
        # It may run all the same: the next one asks the sandbox.
        command.task = None
        return None if task.cancelled() else task.result()

    async def _watch(self, command: _Command, seconds: float | None) -> None:
        """Wait for the end of a command whose call is not this process's."""
        deadline = None if seconds is None else time.monotonic() + seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            answer = await self._sandbox.output(command.request_id, offset="end", max_bytes=1)
            left = pause if deadline is None else deadline - time.monotonic()
            if answer.process.state != "running" or left <= 0:
                return
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _told(
        self,
        command: _Command,
        start: int,
        ended: ExecuteAnswer | None,
        *,
        is_stopped: bool = False,
    ) -> ToolResult:
        """Tell what a command has printed since `start`, and how it is."""
        printed = None if ended and not start else await self._printed(command, start)
        if ended is None:
            lasted = None if command.task is None else time.monotonic() - command.began
            answer = answers.in_between(command.request_id, printed, command.told, lasted)
        else:
            answer = answers.ended(command.request_id, ended, printed)
        if is_stopped and not answer.still_running:
            # What was just killed may not be gone from the list yet.
            answer = answer.model_copy(update={"background": False})
        command.told = max(command.told, answer.next_offset)
        command.is_over = not answer.still_running
        goes_on = start > 0 and (ended is None or printed is not None)
        return ToolResult(shaping.waited(answer, self._most, goes_on=goes_on), answer=answer)

    async def _printed(self, command: _Command, start: int) -> Printed | None:
        """Read what is new; None if that cannot be, and the command's own call will tell it."""
        read = self._reader(command)
        if command.task is None or read is None:
            return None if read is None else await read_printed(read, start, self._most)
        try:
            async with asyncio.timeout(_READ_SECONDS):
                return await read_printed(read, start, self._most)
        except (SandboxError, TimeoutError):
            # It is not started yet, its sandbox too old to ask, or something broken.
            return None

    def _reader(self, command: _Command) -> ReadLog | None:
        if command.task is None:
            return functools.partial(self._sandbox.output, command.request_id, encoding="base64")
        acquired = self._sandbox.acquired
        if acquired is None:
            return None
        # Not through the thread: that would wait while a sandbox is acquired.
        return functools.partial(
            self._sandbox.sandboxes.output,
            command.request_id,
            sandbox_id=acquired.sandbox_id,
            encoding="base64",
        )

    @asynccontextmanager
    async def _reporting(self, command: _Command, on_line: OnLine | None) -> AsyncIterator[None]:
        """Tell the last line while there is somebody waiting inside, and nothing afterwards."""
        if on_line is None:
            yield
            return
        reporting = asyncio.create_task(self._report(command, on_line))
        try:
            yield
        finally:
            await cut(reporting)

    async def _report(self, command: _Command, on_line: OnLine) -> None:
        line, position = "", command.told
        while True:
            await asyncio.sleep(_LINE_SECONDS)
            read = self._reader(command)
            if read is not None:
                with suppress(SandboxError):
                    new, position = await last_line(read, position)
                    line = new or line
            await on_line(line)

    def _executed(self, ended: ExecuteAnswer) -> ToolResult:
        return ToolResult(shaping.executed(ended, self._most), answer=ended)
