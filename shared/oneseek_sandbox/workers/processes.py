"""Asking workers about managed processes."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

from oneseek_sandbox.workers.features import require, require_fields
from oneseek_sandbox.workers.process_replies import (
    Attached,
    Begun,
    InputTaken,
    ProcessList,
    Signalled,
)
from oneseek_sandbox.workers.replies import Answer, parse

if TYPE_CHECKING:
    from oneseek_sandbox.leases.store import Lease
    from oneseek_sandbox.workers.client import WorkerClient

__all__ = ["MAX_WAIT_SECONDS", "ProcessClient"]

MAX_WAIT_SECONDS: Final = 20.0
"""How long a worker is let wait for output in one question."""
_FEATURE: Final = "processes"
_TERMINAL: Final = "terminal"
_OVERDUE_SECONDS: Final = 15.0

_AnswerT = TypeVar("_AnswerT", bound=Answer)


class ProcessClient:
    """Talks to workers about processes, over the connections of a `WorkerClient`.

    Every call raises `SandboxTooOldError` for a worker that knows none of it.
    """

    def __init__(self, workers: WorkerClient) -> None:
        self._workers = workers

    async def start(self, lease: Lease, command: dict[str, Any]) -> Begun:
        """Start a process in the background; answered when its program runs."""
        require_fields(lease, command)
        return await self._ask(lease, "execute", command, Begun, named="background")

    async def list(self, lease: Lease, wanted: dict[str, Any]) -> ProcessList:
        """List processes."""
        return await self._ask(lease, "processes", wanted, ProcessList)

    async def attach(
        self, lease: Lease, request_id: str, *, offset: int | None, seconds: float, most: int
    ) -> Attached:
        """Return output from a position on, at the first of it, or after so many seconds.

        Args:
            offset: None for the end of what there is.
            most: Bytes.
        """
        wait = min(seconds, MAX_WAIT_SECONDS)
        wanted = {"request_id": request_id, "offset": offset, "max_bytes": most}
        wanted["wait_ms"] = round(1000 * max(0.0, wait))
        return await self._ask(lease, "attach", wanted, Attached, seconds=wait + _OVERDUE_SECONDS)

    async def input(
        self,
        lease: Lease,
        request_id: str,
        data: bytes,
        *,
        offset: int,
        close: bool,
        resize: dict[str, int] | None,
    ) -> InputTaken:
        """Give a process input.

        Args:
            resize: Columns and rows for its terminal.
        """
        if resize is not None:
            require(lease, _TERMINAL, "resize")
        text = base64.b64encode(data).decode("ascii")
        wanted = {"request_id": request_id, "data": text, "offset": offset, "close": close}
        wanted["resize"] = resize
        return await self._ask(lease, "input", wanted, InputTaken)

    async def signal(self, lease: Lease, wanted: dict[str, Any]) -> Signalled:
        """Send a signal."""
        if wanted["to"] == "foreground":
            require(lease, _TERMINAL, "foreground")
        return await self._ask(lease, "signal", wanted, Signalled)

    async def _ask(
        self,
        lease: Lease,
        verb: str,
        wanted: dict[str, Any],
        answer: type[_AnswerT],
        *,
        named: str = "",
        seconds: float | None = None,
    ) -> _AnswerT:
        require(lease, _FEATURE, named or verb)
        given = {name: value for name, value in wanted.items() if value is not None}
        body = json.dumps(given, ensure_ascii=False).encode()
        content = await self._workers.ask(lease, "POST", f"/{verb}", body, seconds=seconds)
        return parse(answer, content)
