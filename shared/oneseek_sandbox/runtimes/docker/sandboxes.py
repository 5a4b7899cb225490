"""A sandbox's life on an engine: made, found, taken over, looked at, ended."""

from __future__ import annotations

import dataclasses
import logging
import secrets
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.errors import (
    CreationLostError,
    RuntimeUnavailableError,
    SandboxError,
    SandboxLostError,
    SandboxStartError,
)
from oneseek_sandbox.runtimes.docker import container_state
from oneseek_sandbox.runtimes.docker.container_spec import listener_name
from oneseek_sandbox.runtimes.docker.engine import EngineRefusalError
from oneseek_sandbox.runtimes.docker.found import found_among
from oneseek_sandbox.runtimes.docker.leftovers import remove_leftovers
from oneseek_sandbox.runtimes.docker.records import (
    KEY_ID,
    NAME,
    Record,
    name_of,
    thread_label,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oneseek_sandbox.clock import Clock
    from oneseek_sandbox.leases.store import Thread
    from oneseek_sandbox.runtimes.docker.engine import Engine, Resource
    from oneseek_sandbox.runtimes.docker.found import Found
    from oneseek_sandbox.runtimes.docker.records import Records
    from oneseek_sandbox.runtimes.docker.resources import SandboxResources
    from oneseek_sandbox.runtimes.runtime import Labels, ObjectState, SandboxObject
    from oneseek_sandbox.settings import Settings

__all__ = ["Sandboxes"]

log = logging.getLogger(__name__)

_CHANGE_TRIES: Final = 8
_TRIAL_MS: Final = 60_000
"""How long a self-test may take, whose sandboxes are marked as ending from the start."""


class Sandboxes:
    """The sandboxes of one token key; any number of servers may do this at the same time."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        resources: SandboxResources,
        records: Records,
        *,
        key_id: str,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._resources = resources
        self._records = records
        self._own = f"{KEY_ID}={key_id}"
        self._clock = clock

    def find(self, thread: Thread) -> list[SandboxObject]:
        """Return the thread's sandboxes that are not ending, newest generation first."""
        found = [f for f in self._look(thread_label(thread)) if f.record.labels.thread == thread]
        found.sort(key=lambda f: f.record.labels.generation, reverse=True)
        return [f.as_object() for f in found if not f.record.ending]

    def list(self) -> list[SandboxObject]:
        """Return every sandbox that is not ending."""
        return [found.as_object() for found in self._look() if not found.record.ending]

    def create(self, labels: Labels) -> SandboxObject:
        """Make a sandbox and start it."""
        created_ms = labels.created_ms or self._clock.now_ms()
        record = Record(dataclasses.replace(labels, created_ms=created_ms))
        name = f"oneseek-sb-{secrets.token_hex(8)}"
        uid = ""
        try:
            uid = self._resources.make(name, record)
            self._resources.start(uid, listener_name(name))
        except EngineRefusalError as error:
            failure = self._start_failure(uid, error)
            self._withdraw(uid, name, labels.generation)
            raise failure from error
        except SandboxError:
            self._withdraw(uid, name, labels.generation)
            raise
        return self._reachable(uid, name, record.labels)

    def adopt(self, sandbox: SandboxObject, labels: Labels) -> SandboxObject:
        """Label a found sandbox anew, and start it again if it does not run."""
        found = self._unchanged(sandbox)
        current = found.record
        if labels.thread != current.labels.thread:
            raise CreationLostError(f"Sandbox {found.name} belongs to another thread.")
        if labels.generation < current.labels.generation:
            raise CreationLostError(
                f"Sandbox {found.name} already carries generation {current.labels.generation}. "
                "Acquire again."
            )
        kept = dataclasses.replace(labels, created_ms=current.labels.created_ms)
        restarted = current.restarted if found.is_up else current.claimed
        mine = self._change(found, labels=kept, restarted=restarted)
        if not found.is_up:
            self._restart(mine)
        return self._reachable(found.uid, found.name, kept)

    def mark_claimed(self, sandbox: SandboxObject) -> None:
        """Record that a sandbox's worker was claimed."""
        self._change(self._unchanged(sandbox), claimed=True, restarted=False)

    def annotate(self, uid: str, name: str, labels: Labels) -> None:
        """Write what acquires have given on a sandbox."""
        found = self._now(uid, name)
        own = found.record.labels
        if (own.generation, own.sandbox_id) != (labels.generation, labels.sandbox_id):
            raise _taken_over()
        own = dataclasses.replace(own, labels=labels.labels, env=labels.env)
        self._change(found, labels=own)

    def inspect(self, uid: str, name: str) -> ObjectState:
        """Say what became of a sandbox: it runs when its listener does as well."""
        container = self._container(uid)
        if container is None:
            self._remove_rest(name)
            return "gone"
        listener = self._engine.container(listener_name(name_of(container)))
        both = container_state.is_running(container) and container_state.is_running(listener)
        return "running" if both else "stopped"

    def explain(self, uid: str, name: str) -> str:
        """Say in a sentence why a sandbox does not answer."""
        del name  # another container may have it by now
        container = self._container(uid)
        if container is None:
            return "Its container was removed."
        log_tail = self._engine.log_tail(uid)
        if why := container_state.reason(container, log_tail, self._settings):
            return why
        listener = self._engine.container(listener_name(name_of(container)))
        if listener is None:
            return "The container with its network (its listener) was removed."
        why = container_state.reason(
            listener, self._engine.log_tail(listener["Id"]), self._settings
        )
        return why and f"The container with its network (its listener) does not run: {why}"

    def stop(self, uid: str, name: str, generation: int | None = None) -> bool:
        """End a sandbox and its files; True when nothing of it is left."""
        container = self._container(uid)
        if container is None:
            return self._remove_rest(name)
        name = name_of(container)
        for _ in range(_CHANGE_TRIES):
            record = self._records.newest(name, container["Config"]["Labels"])
            if record is None or record.ending:
                break
            if generation is not None and record.labels.generation > generation:
                return False
            if self._records.change(name, record, ending=True):
                break
        else:
            return False
        return self._resources.remove(name) and self._container(uid) is None

    def _remove_rest(self, name: str) -> bool:
        """Remove what is left of a sandbox whose container is gone; not of another of that name."""
        return self._engine.container(name) is not None or self._resources.remove(name)

    def finish_endings(self) -> None:
        """Complete what a server that died in the middle left half done."""
        now_ms = self._clock.now_ms()
        for found in self._look():
            if found.record.ending and found.record.labels.created_ms < now_ms - _TRIAL_MS:
                self.stop(found.uid, found.name)
        remove_leftovers(self._engine, self._resources, self._own, now_ms=now_ms)

    def _look(self, *labels: str) -> Iterable[Found]:
        """Return the sandboxes that carry the labels, by one look at containers and records."""
        containers = self._engine.containers(self._own, *labels)
        if not containers:
            return []
        return found_among(containers, self._records.written(*labels))

    def _now(self, uid: str, name: str) -> Found:
        """Return a sandbox as it is now.

        Raises:
            SandboxLostError: It is gone, or ending.
        """
        for found in self._look(f"{NAME}={name}"):
            if found.uid == uid and not found.record.ending:
                return found
        raise _lost()

    def _reachable(self, uid: str, name: str, labels: Labels) -> SandboxObject:
        """Return a sandbox that was just started, or labelled while it ran.

        Raises:
            CreationLostError: It does not carry these labels any more.
            SandboxLostError: It is gone, or ending.
            SandboxStartError: Its listener container ended at once.
        """
        found = self._now(uid, name)
        if found.record.labels != labels:
            raise _taken_over()
        if not found.address:
            raise SandboxStartError(f"The sandbox cannot be reached. {self.explain(uid, name)}")
        return found.as_object()

    def _unchanged(self, sandbox: SandboxObject) -> Found:
        found = self._now(sandbox.uid, sandbox.name)
        if found.record.labels != sandbox.labels:
            raise _taken_over()
        return found

    def _change(self, found: Found, **changes: object) -> Found:
        """Write the next record, see that there is something that it is about, and return both."""
        changed = self._records.change(found.name, found.record, **changes)
        if self._container(found.uid) is None:
            self._resources.remove(found.name)
            raise _lost()
        if changed is None:
            self._now(found.uid, found.name)  # is it ending, or another's?
            raise _taken_over()
        return dataclasses.replace(found, record=changed)

    def _restart(self, mine: Found) -> None:
        """Start both containers anew: the listener container gives its socket away only once.

        Whoever takes the sandbox over starts it too, so who comes late looks before each step.

        Raises:
            CreationLostError: The record is no longer the caller's.
        """
        listener = listener_name(mine.name)
        for container in (listener, mine.uid):
            self._see_still(mine)
            self._engine.kill(container)
        self._see_still(mine)
        try:
            self._resources.start(mine.uid, listener)
        except EngineRefusalError as error:
            raise self._start_failure(mine.uid, error) from error

    def _see_still(self, mine: Found) -> None:
        if self._now(mine.uid, mine.name).record.number != mine.record.number:
            raise _taken_over()

    def _start_failure(self, uid: str, error: EngineRefusalError) -> SandboxError:
        refusal = container_state.start_refusal(error, self._settings)
        if uid and error.is_missing and self._container(uid) is None:
            return SandboxStartError("The new sandbox was removed while it started. Acquire again.")
        return refusal

    def _withdraw(self, uid: str, name: str, generation: int) -> None:
        """Leave nothing of a sandbox that did not start, unless a successor has labelled it."""
        try:
            gone = self.stop(uid, name, generation) if uid else self._resources.remove(name)
        except (EngineRefusalError, RuntimeUnavailableError) as error:
            log.warning("Sandbox %s is left to the cleanup: %s", name, error)
        else:
            if not gone:
                log.warning("Sandbox %s is left to the cleanup", name)

    def _container(self, uid: str) -> Resource | None:
        """Return a container by id alone; engines take names as well."""
        container = self._engine.container(uid)
        return container if container is not None and container["Id"] == uid else None


def _lost() -> SandboxLostError:
    return SandboxLostError("The sandbox's container is gone. Acquire again for a new one.")


def _taken_over() -> CreationLostError:
    return CreationLostError("A newer acquire took this sandbox over. Acquire again.")
