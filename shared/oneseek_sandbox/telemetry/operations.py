"""A call of a verb as it is observed: its span from the beginning to the end, and then its figures."""

from __future__ import annotations

import logging
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from oneseek_sandbox.errors import ForbiddenError, UnauthenticatedError
from oneseek_sandbox.log_lines import log_facts
from oneseek_sandbox.telemetry import instruments
from oneseek_sandbox.telemetry.facts import facts_of
from oneseek_sandbox.telemetry.spans import CANCELLED, code_of, start_span
from oneseek_sandbox.tracing import current_trace_id, start_trace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from oneseek_sandbox.telemetry.recorders import Attribute, Kind

__all__ = ["Operation", "observed", "observed_context", "observed_stream"]

log = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

_LEFT: Final = 499
"""The status of a request whose caller did not wait for one."""
_SERVER_ERRORS: Final = 500
_REFUSED_KEYS: Final = {UnauthenticatedError.code, ForbiddenError.code}
_WHOSE: Final = {
    "scope": "sandbox.scope",
    "thread_id": "sandbox.thread_id",
    "sandbox_id": "sandbox.id",
}


class Operation:
    """One call.

    Args:
        part: First part of the span's name: `sandbox` in a backend, `function` in a server.
        counted: Whether it counts in this process's figures: where the verb is done, not where it is
            only asked for.
        remote: The caller's traceparent, empty for none: the task's trace starts here then. None
            when the caller is in this process.

    Attributes:
        peer: The address that a request came from.
        status: What a request was answered with.
    """

    def __init__(
        self,
        part: str,
        verb: str,
        kind: Kind,
        *,
        counted: bool,
        remote: str | None = None,
    ) -> None:
        self.verb = verb
        self.span = start_span(f"{part}.{verb}", kind, remote=remote)
        if remote is not None:
            start_trace(self.span.traceparent if self.span.is_recording else remote)
        self.peer, self.status = "", _LEFT
        self._counted, self._is_request = counted, kind == "server"
        self._trace_id = current_trace_id()
        self._began = time.perf_counter()
        self._facts: dict[str, Attribute] = {}
        self._is_answered = False
        self._error = ""
        self._exception = ""

    def note(self, said: object) -> None:
        """Note what a request says."""
        if self._counted or self.span.is_recording:
            facts = facts_of(said)
            self._facts |= facts
            self.span.note(facts)

    def answered(self, answer: object) -> None:
        """Note what the answer says; who stops listening after it has not cancelled anything."""
        self._is_answered = True
        self.note(answer)

    def failed(self, error: BaseException, code: str = "") -> None:
        """Note what went wrong.

        Args:
            code: Instead of the error's own.
        """
        self._error, self._exception = code or code_of(error), type(error).__name__

    def end(self) -> None:
        """End the span, and count the call; one without answer and error was left by its caller."""
        if not (self._is_answered or self._error):
            self._error = CANCELLED
        self.span.end(self._error, self._exception)
        if self._counted:
            self._counted = False
            seconds = time.perf_counter() - self._began
            instruments.count_call(self.verb, self._error, seconds, self._facts)
            if self._is_request:
                self._log(seconds)

    def _log(self, seconds: float) -> None:
        refused = self._error in _REFUSED_KEYS
        facts = {
            "verb": self.verb,
            "status": self.status,
            "error": self._error,
            "duration_ms": round(1000 * seconds, 1),
            **{name: self._facts.get(fact) for name, fact in _WHOSE.items()},
            "peer": self.peer if refused else "",
            "trace_id": self._trace_id,
        }
        grave = refused or self.status >= _SERVER_ERRORS
        message = "Refused a key" if refused else "Answered a call"
        log_facts(log, logging.WARNING if grave else logging.INFO, message, facts)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """End it with what is done inside, and with the error of that."""
        try:
            yield
        except BaseException as error:
            if not (self._is_answered and isinstance(error, GeneratorExit)):
                self.failed(error)
            raise
        finally:
            self.end()


async def observed(operation: Operation, work: Awaitable[ResultT]) -> ResultT:
    """Await the work of an operation."""
    with operation.ending(), operation.span.active():
        answer = await work
        operation.answered(answer)
        return answer


async def observed_stream(
    begin: Callable[[], Operation], events: AsyncGenerator[ResultT, None], answer: type
) -> AsyncGenerator[ResultT, None]:
    """Yield the events of an operation, which begins with the first and ends with the last.

    Args:
        answer: The type of the one that is the answer.
    """
    operation = begin()
    with operation.ending():
        try:
            while True:
                with operation.span.active():
                    event = await anext(events, None)
                if event is None:
                    return
                if isinstance(event, answer):
                    operation.answered(event)
                yield event
        finally:
            await events.aclose()


@asynccontextmanager
async def observed_context(
    begin: Callable[[], Operation], opening: AbstractAsyncContextManager[ResultT]
) -> AsyncIterator[ResultT]:
    """Enter the context of an operation, which lasts as long."""
    operation = begin()
    with operation.ending():
        async with AsyncExitStack() as stack:
            with operation.span.active():
                opened = await stack.enter_async_context(opening)
            operation.answered(opened)
            yield opened
