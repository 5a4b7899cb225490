"""The table that has a `request_id` run at most once."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError
from oneseek_sandbox.guest.worker.digest import sha256

if TYPE_CHECKING:
    from oneseek_sandbox.guest.worker.command import Command
    from oneseek_sandbox.guest.worker.command_spec import CommandSpec
    from oneseek_sandbox.guest.worker.output import Answer

__all__ = ["MAX_KEPT_ANSWERS", "MAX_KEPT_BYTES", "MAX_REQUEST_IDS", "Once", "OnceTable"]

MAX_KEPT_ANSWERS = 256
MAX_KEPT_BYTES = 8 * 1024 * 1024
MAX_REQUEST_IDS = 50_000


class Once:
    """A `request_id` that was seen: what was asked, and the command or its answer while kept."""

    __slots__ = ("answer", "command", "fingerprint")

    def __init__(self, fingerprint: bytes, command: Command) -> None:
        self.fingerprint = fingerprint
        self.command: Command | None = command
        self.answer: Answer | None = None


class OnceTable:
    """Makes sure that a `request_id` runs at most once in the life of this process."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Once] = {}
        self._kept: deque[Once] = deque()
        self._kept_bytes = 0

    def find(self, spec: CommandSpec) -> Once | None:
        """Return what is known of a request's id; None when it is new and may be recorded."""
        entry = self._entries.get(self._key(spec.request_id or ""))
        if entry is not None and entry.fingerprint != spec.fingerprint():
            raise WorkerError(
                "request_id_conflict",
                "This request_id was used for another request; make a new one.",
            )
        if entry is not None and entry.command is None and entry.answer is None:
            raise WorkerError(
                "answer_evicted", "This command ran, but its answer is not kept any more."
            )
        if entry is None and len(self._entries) >= MAX_REQUEST_IDS:
            raise WorkerError(
                "request_ids_exhausted", "This sandbox has seen its last request_id; release it."
            )
        return entry

    def running(self, request_id: str) -> Command | None:
        """Return the running command of an id, None when it has ended; unknown ids are refused."""
        entry = self._entries.get(self._key(request_id))
        if entry is None:
            raise WorkerError("command_not_found", "No command has this request_id.")
        return entry.command

    def record(self, spec: CommandSpec, command: Command) -> Once:
        """Note that a command runs under its id."""
        entry = Once(spec.fingerprint(), command)
        self._entries[self._key(spec.request_id or "")] = entry
        return entry

    async def settle(self, spec: CommandSpec, entry: Once) -> None:
        """Wait for the answer and keep it; a command that never started is forgotten."""
        command = entry.command
        while command is not None and not command.finished:
            await command.changed.wait()
        entry.command = None
        if command is None or command.answer is None:
            del self._entries[self._key(spec.request_id or "")]
            return
        entry.answer = command.answer
        entry.answer.pack()
        self._kept.append(entry)
        self._kept_bytes += command.answer.size
        # The newest stays whatever its size: it is the one a broken connection asks for.
        while len(self._kept) > 1 and (
            self._kept_bytes > MAX_KEPT_BYTES or len(self._kept) > MAX_KEPT_ANSWERS
        ):
            oldest = self._kept.popleft()
            if oldest.answer is not None:
                self._kept_bytes -= oldest.answer.size
                oldest.answer = None

    @staticmethod
    def _key(request_id: str) -> bytes:
        return sha256(request_id.encode(errors="surrogatepass")).digest()[:16]
