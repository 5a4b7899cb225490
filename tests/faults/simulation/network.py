"""What lies between processes: every call takes its time, and may be late, lost, or made twice."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from tests.faults.simulation.virtual import VirtualLoop

__all__ = ["Network", "Proxy", "Weather", "at_once"]

T = TypeVar("T")

_OUTSIDE = contextvars.Context()
_FASTEST_SECONDS, _SLOWEST_SECONDS = 0.0002, 0.02
_GIVEN_UP_SECONDS = 2.0


@dataclass(slots=True)
class Weather:
    """How calls of one kind fare just now; probabilities.

    Attributes:
        lost: The call does not arrive.
        answer_lost: It arrives, and its answer does not.
        twice: Its first answer is lost; it is made again, and the second answer arrives.
        late: It arrives long after its caller has given up.
        slow: It takes seconds each way.
        away: Nothing arrives at all.
    """

    lost: float = 0.0
    answer_lost: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    slow: float = 0.0
    away: bool = False

    def clear(self) -> None:
        """Let everything arrive again."""
        self.lost = self.answer_lost = self.twice = self.late = self.slow = 0.0
        self.away = False


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value
    work.close()
    raise AssertionError("what is simulated must not wait")


class Network:
    """Carries calls from processes to what stands outside of them."""

    def __init__(self, loop: VirtualLoop, chance: Random) -> None:
        self._loop = loop
        self._chance = chance
        self.closed = False

    async def call(
        self,
        weather: Weather,
        work: Callable[[], Coroutine[Any, Any, T]],
        given_up: Callable[[bool], Exception],
        *,
        outlives: bool = True,
    ) -> T:
        """Make a call.

        Args:
            given_up: Makes the error of a caller that heard nothing; told whether it was sent.
            outlives: It takes effect though its caller has gone or given up meanwhile.
        """
        if self.closed:
            raise asyncio.CancelledError
        answer: asyncio.Future[T] = self._loop.create_future()
        arrives, times, answered = self._fate(weather)

        def arrive() -> None:
            if answer.done() and not outlives:
                return
            for _ in range(times):
                outcome = _outcome(work, answer)
            if answered:
                self._later(self._seconds(weather), outcome)

        if arrives is not None:
            self._later(arrives, arrive)
        if not answered:
            error = given_up(arrives is not None)
            self._later(_GIVEN_UP_SECONDS, lambda: answer.done() or answer.set_exception(error))
        return await answer

    def _fate(self, weather: Weather) -> tuple[float | None, int, bool]:
        """Draw when a call arrives, how many times, and whether its caller hears the answer."""
        fate, seconds = self._chance.random(), self._seconds(weather)
        if weather.away or (fate := fate - weather.lost) < 0:
            return None, 0, False
        if (fate := fate - weather.answer_lost) < 0:
            return seconds, 1, False
        if (fate := fate - weather.late) < 0:
            return self._chance.uniform(3, 30), 1, False
        return seconds, 2 if fate < weather.twice else 1, True

    def _seconds(self, weather: Weather) -> float:
        if weather.slow and self._chance.random() < weather.slow:
            return self._chance.uniform(0.5, 4)
        return self._chance.uniform(_FASTEST_SECONDS, _SLOWEST_SECONDS)

    def _later(self, seconds: float, callback: Callable[[], object]) -> None:
        self._loop.call_later(seconds, callback, context=_OUTSIDE)


def _outcome(
    work: Callable[[], Coroutine[Any, Any, T]], answer: asyncio.Future[T]
) -> Callable[[], object]:
    """Do what was asked for, and return what tells its caller."""
    try:
        value = at_once(work())
    except Exception as error:  # noqa: BLE001 - all of it is the caller's
        raised = error
        return lambda: answer.done() or answer.set_exception(raised)
    return lambda: answer.done() or answer.set_result(value)


class Proxy:
    """A store or a runtime as a process sees it: over the network.

    Args:
        own: Methods that need no network, by name.
    """

    def __init__(
        self,
        network: Network,
        weather: Weather,
        target: object,
        error: Callable[[str], Exception],
        **own: object,
    ) -> None:
        self._network = network
        self._weather = weather
        self._target = target
        self._error = error
        self.__dict__.update(own)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if not callable(method):
            return method

        async def call(*args: Any, **fields: Any) -> Any:
            return await self._network.call(
                self._weather,
                lambda: method(*args, **fields),
                lambda _: self._error("No answer. Try again."),
            )

        return call
