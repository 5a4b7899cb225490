"""Reading what a process prints: text that is cut between characters, for as many as there may be."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from oneseek_sandbox import models, output
from oneseek_sandbox.control.translation import described
from oneseek_sandbox.errors import InvalidRequestError, TooManyStreamsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oneseek_sandbox.auth import Caller
    from oneseek_sandbox.leases.store import Lease
    from oneseek_sandbox.output import StreamName
    from oneseek_sandbox.workers.process_replies import Attached, LogEvent
    from oneseek_sandbox.workers.processes import ProcessClient

__all__ = ["MAX_OF_A_FUNCTION", "MAX_OF_A_KEY", "Reader", "Readers"]

MAX_OF_A_FUNCTION: Final = 25
"""Half of the calls that a function takes at a time (`containerConcurrency`)."""
MAX_OF_A_KEY: Final = 64
_HALF_CHARACTER_SECONDS: Final = 0.02


class Readers:
    """Those who are attached through this process.

    Args:
        most: How many at a time; None for any number.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._all = 0
        self._of_keys: Counter[str] = Counter()

    @contextmanager
    def one(self, caller: Caller) -> Iterator[None]:
        """Let one more read inside.

        Raises:
            TooManyStreamsError: There are as many as may be.
        """
        is_full = self._most is not None and self._all >= self._most
        if is_full or self._of_keys[caller.name] >= MAX_OF_A_KEY:
            raise TooManyStreamsError(
                "As many readers are attached here as may be "
                f"({self._most if is_full else f'{MAX_OF_A_KEY} with one key'}). Try again, end "
                "one, or ask without waiting."
            )
        self._all += 1
        self._of_keys[caller.name] += 1
        try:
            yield
        finally:
            self._all -= 1
            self._of_keys[caller.name] -= 1
            if not self._of_keys[caller.name]:
                del self._of_keys[caller.name]


class Reader:
    """Reads the output of one process from a position on, answer by answer.

    Attributes:
        positions: For each event of the last answer, where a reader goes on after it.
    """

    def __init__(self, workers: ProcessClient, lease: Lease, request: models.AttachRequest) -> None:
        self._workers = workers
        self._lease = lease
        self._request = request
        self._offset = None if request.offset == "end" else request.offset
        self.positions: list[int] = []

    async def read(self, seconds: float) -> models.AttachAnswer:
        """Return the next output, at the first of it, the end, or after so many seconds."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        while True:
            left = deadline - clock()
            found = await self._workers.attach(
                self._lease,
                self._request.request_id,
                offset=self._offset,
                seconds=left,
                most=self._request.max_bytes,
            )
            if found.process.terminal is not None and self._request.encoding != "base64":
                raise InvalidRequestError(
                    "encoding: the output of a terminal is bytes for a terminal; read it with "
                    "'base64'."
                )
            is_last = left <= 0 or found.process.state != "running"
            answer = self._answer(found, whole=is_last)
            self._offset = answer.next_offset
            if answer.events or is_last:
                return answer
            if found.events:
                await asyncio.sleep(_HALF_CHARACTER_SECONDS)

    def _answer(self, found: Attached, *, whole: bool) -> models.AttachAnswer:
        """Make an answer; unless `whole`, half a character at its end is left for the next one."""
        decoder = output.OutputDecoder(self._request.encoding)
        events: list[models.OutputEvent | models.GapEvent] = []
        self.positions = []
        # Counted back from the end, as where the first event begins is not said.
        after = found.next_offset - sum(_length(event) for event in found.events)

        def add(texts: list[tuple[StreamName, str]]) -> None:
            events.extend(models.OutputEvent(type=name, text=text) for name, text in texts)
            self.positions.extend([after] * (len(events) - len(self.positions)))

        for number, event in enumerate(found.events, 1):
            if event.gap is not None:
                add(decoder.end())
                after = event.gap.end
                events.append(models.GapEvent(start=event.gap.start, end=after))
                add([])
            for name, data in _pieces(event):
                if not whole and number == len(found.events):
                    data = self._without_half(data)
                after += len(data)
                add(decoder.feed(name, data))
        add(decoder.end())
        return models.AttachAnswer(
            events=events, next_offset=after, process=described(found.process)
        )

    def _without_half(self, data: bytes) -> bytes:
        return data if self._request.encoding == "base64" else output.without_partial_end(data)


def _pieces(event: LogEvent) -> Iterator[tuple[StreamName, bytes]]:
    if event.stdout:
        yield "stdout", event.stdout
    if event.stderr:
        yield "stderr", event.stderr


def _length(event: LogEvent) -> int:
    """Return how far an event leads: a gap leads to a position that it says itself."""
    if event.gap is not None:
        return event.gap.end - event.gap.start
    return sum(len(data) for _, data in _pieces(event))
