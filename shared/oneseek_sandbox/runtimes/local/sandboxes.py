"""Making, finding and ending the sandboxes of one machine. Blocking: called from threads."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from oneseek_sandbox.errors import (
    CapacityError,
    CreationLostError,
    RuntimeUnavailableError,
    SandboxLostError,
    SandboxStartError,
)
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.local import cgroups, host, liveness
from oneseek_sandbox.runtimes.local.endings import Endings
from oneseek_sandbox.runtimes.local.record import Record, new_name
from oneseek_sandbox.runtimes.local.starter import Place, Program, Starter
from oneseek_sandbox.runtimes.runtime import Labels, ObjectState, SandboxObject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oneseek_sandbox.clock import Clock
    from oneseek_sandbox.runtimes.local.records import Records
    from oneseek_sandbox.settings import Settings

__all__ = ["Sandboxes"]

log = logging.getLogger(__name__)


class Sandboxes:
    """The runtime's promises, without asyncio.

    Args:
        sockets: Private folder for the workers' sockets.
        worker: The source of the program that runs as PID 1.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        records: Records,
        starter: Starter,
        sockets: Path,
        worker: bytes,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._records = records
        self._starter = starter
        self._endings = Endings(records, sockets, starter.groups, clock)
        self._worker = worker
        self._clock = clock
        self._users = host.private_users() if os.geteuid() == 0 else None

    def find(self, thread: Thread) -> list[SandboxObject]:
        """Return the thread's sandboxes that are not ending, newest generation first."""
        found = [
            self._object(record)
            for record in map(self._endings.read, self._records.names(thread))
            if record is not None and record.labels.thread == thread and not record.ending
        ]
        return sorted(found, key=_generation, reverse=True)

    def damaged(self) -> list[Path]:
        """Return the folders of the sandboxes whose records could not be understood."""
        return self._records.damaged()

    def list(self) -> list[SandboxObject]:
        """Return every sandbox that is not ending, as far as the disk gives their records."""
        found = []
        for name in self._records.names():
            try:
                record = self._endings.read(name)
            except RuntimeUnavailableError as error:
                log.warning("A sandbox is left out of the list: %s", error)
                continue
            if record is not None and not record.ending:
                found.append(self._object(record))
        return found

    def create(self, labels: Labels) -> SandboxObject:
        """Make a sandbox and start it."""
        self._check_free_disk()
        created_ms = labels.created_ms or self._clock.now_ms()
        record = self._new_record(dataclasses.replace(labels, created_ms=created_ms))
        try:
            self._records.add(record)
            with self._records.locked(record.name) as current:
                if current is None or current.ending:
                    raise SandboxLostError(f"Sandbox {record.name} was stopped while it was made.")
                self._start(record)
                return self._object(record)
        except OSError as error:
            self._give_up(record)
            raise SandboxStartError(f"A sandbox could not be started: {error}") from error
        except SandboxStartError:
            self._give_up(record)
            raise

    @contextlib.contextmanager
    def trial(self, program: Program) -> Iterator[int]:
        """Run another program than the worker in a sandbox that nobody finds; give its process id.

        It is marked as ending from the start, so whoever comes by deletes what a crash left.

        Raises:
            SandboxStartError: It did not start.
        """
        thread = Thread("", "self-test")
        record = self._new_record(Labels(thread, generation=0, idle_ms=0, sandbox_id=""))
        record = dataclasses.replace(record, ending=True)
        try:
            self._records.add(record)
            with self._records.locked(record.name):
                yield self._start(record, program)
        except OSError as error:
            raise SandboxStartError(f"A sandbox could not be started: {error}") from error
        finally:
            self._give_up(record)

    def _new_record(self, labels: Labels) -> Record:
        user = self._records.users.take(self._users) if self._users is not None else None
        name = new_name(labels.thread)
        groups = tuple(str(group) for group in self._starter.groups(name))
        return Record(uuid.uuid4().hex, name, labels, host_user=user, groups=groups)

    def adopt(self, sandbox: SandboxObject, labels: Labels) -> SandboxObject:
        """Label a sandbox anew, and start it again if it does not live or cannot be reached."""
        try:
            return self._adopt(sandbox, labels)
        except OSError as error:
            raise RuntimeUnavailableError(
                f"Sandbox {sandbox.name} cannot be started again: {error}. Its files are kept."
            ) from error

    def _adopt(self, sandbox: SandboxObject, labels: Labels) -> SandboxObject:
        with self._records.locked(sandbox.name) as record:
            current = self._unchanged(record, sandbox)
            if labels.thread != current.labels.thread:
                raise CreationLostError(f"Sandbox {sandbox.name} belongs to another thread.")
            if labels.generation < current.labels.generation:
                raise CreationLostError(
                    f"Sandbox {sandbox.name} already carries generation"
                    f" {current.labels.generation}. Acquire again."
                )
            kept = dataclasses.replace(labels, created_ms=current.labels.created_ms)
            current = dataclasses.replace(current, labels=kept)
            if self._is_up(current):
                self._records.save(current)
                return self._object(current)
            return self._restart(current)

    def mark_claimed(self, sandbox: SandboxObject) -> None:
        """Record that the worker of a sandbox was claimed."""
        with self._records.locked(sandbox.name) as record:
            current = self._unchanged(record, sandbox)
            self._records.save(dataclasses.replace(current, claimed=True, restarted=False))

    def annotate(self, uid: str, name: str, labels: Labels) -> None:
        """Write what acquires have given on a sandbox."""
        with self._records.locked(name) as record:
            if record is None or record.uid != uid or record.ending:
                raise SandboxLostError(f"Sandbox {name} is gone. Acquire again.")
            own = record.labels
            if (own.generation, own.sandbox_id) != (labels.generation, labels.sandbox_id):
                raise CreationLostError(f"Sandbox {name} was taken over. Acquire again.")
            own = dataclasses.replace(own, labels=labels.labels, env=labels.env)
            self._records.save(dataclasses.replace(record, labels=own))

    def inspect(self, uid: str, name: str) -> ObjectState:
        """Say what became of a sandbox."""
        record = self._endings.read(name)
        if record is None or record.uid != uid:
            half_deleted = name in self._records.half_deleted() and record is None
            return "stopped" if half_deleted else "gone"
        return "running" if self._is_up(record) else "stopped"

    def explain(self, uid: str, name: str) -> str:
        """Say why a sandbox does not answer, as far as its traces tell."""
        record = self._endings.read(name)
        if record is None or record.uid != uid:
            return ""
        folder = self._records.folder(name)
        groups = [Path(group) for group in record.groups]
        if cgroups.out_of_memory_kills(groups):
            return (
                f"It used more memory than its limit of {self._settings.memory_limit_mb} MB"
                " (PROVISIONER_MEMORY_LIMIT_MB), and processes of it were killed."
            )
        if liveness.is_alive(folder / "status"):
            return ""
        code = liveness.read_status(folder / "status").get("exit-code")
        ended = "It was killed from outside" if code is None else f"It ended with code {code}"
        tail = liveness.log_tail(folder)
        return f"{ended}. Last words: {tail}" if tail else f"{ended}."

    def stop(self, uid: str, name: str, generation: int | None = None) -> bool:
        """End a sandbox and delete its files; True when nothing of it is left."""
        return self._endings.stop(uid, name, generation)

    def finish_endings(self) -> None:
        """Complete what a server that died in the middle of a stop left half done."""
        self._endings.finish_all()

    def _object(self, record: Record) -> SandboxObject:
        return SandboxObject(
            uid=record.uid,
            name=record.name,
            address=f"unix:{self._endings.socket(record.name)}",
            labels=record.labels,
            claimed=record.claimed,
            restarted=record.restarted,
        )

    def _is_up(self, record: Record) -> bool:
        """Tell whether it lives and its socket was not swept away."""
        folder = self._records.folder(record.name)
        return liveness.is_alive(folder / "status") and self._endings.socket(record.name).exists()

    def _unchanged(self, record: Record | None, sandbox: SandboxObject) -> Record:
        if record is None or record.uid != sandbox.uid or record.ending:
            raise SandboxLostError(f"Sandbox {sandbox.name} is gone. Acquire again.")
        if record.labels != sandbox.labels:
            raise CreationLostError(
                f"Sandbox {sandbox.name} was taken over since it was found. Acquire again."
            )
        return record

    def _start(self, record: Record, program: Program | None = None) -> int:
        """Start the processes; the lock must be held and nothing may be running."""
        place = Place(record.name, self._records.folder(record.name), record.host_user)
        if program is not None:
            return self._starter.start(place, program)
        with self._starter.listen(self._endings.socket(record.name)) as listener:
            descriptor = listener.fileno()
            program = Program("worker.py", self._worker, self._starter.worker_arguments(descriptor))
            return self._starter.start(place, program, inherited=[descriptor])

    def _restart(self, record: Record) -> SandboxObject:
        if not liveness.end_processes(record, self._records.folder(record.name)):
            raise SandboxStartError(
                f"The old processes of sandbox {record.name} cannot be killed. Try again; if this"
                " persists, look for processes in uninterruptible sleep (`ps` state D)."
            )
        cgroups.remove_groups([Path(group) for group in record.groups])
        groups = tuple(str(group) for group in self._starter.groups(record.name))
        record = dataclasses.replace(record, restarted=record.claimed, groups=groups)
        self._records.save(record)
        self._start(record)
        return self._object(record)

    def _check_free_disk(self) -> None:
        shortage = host.disk_shortage(self._settings.home, self._settings.min_free_disk_mb)
        if shortage:
            raise CapacityError(
                f"{shortage} Release sandboxes that are not needed, or ask the operator to free"
                " disk space."
            )

    def _give_up(self, record: Record) -> None:
        """Leave nothing of a sandbox that did not start."""
        if not self._endings.stop(record.uid, record.name) and record.host_user is not None:
            return  # the sweep ends it; its user id stays taken until then
        if record.host_user is not None:
            self._records.users.give_back(record.host_user)


def _generation(sandbox: SandboxObject) -> int:
    return sandbox.labels.generation if sandbox.labels else 0
