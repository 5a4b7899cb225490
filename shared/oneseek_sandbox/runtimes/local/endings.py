"""How sandboxes end: asked to, by a crash in the middle of it, or because their record is damaged."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from oneseek_sandbox.errors import RuntimeUnavailableError, SandboxError
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.local import cgroups, liveness
from oneseek_sandbox.runtimes.local.record import DamagedRecordError, Record
from oneseek_sandbox.runtimes.local.records import Records, owner
from oneseek_sandbox.runtimes.local.removal import remove_tree
from oneseek_sandbox.runtimes.runtime import Labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from oneseek_sandbox.clock import Clock

__all__ = ["Endings"]

log = logging.getLogger(__name__)


class Endings:
    """Ends sandboxes for certain, and finishes what others left half done. Blocking.

    Args:
        sockets: Private folder for the workers' sockets.
        groups: Gives the control groups of a sandbox by its name.
    """

    def __init__(
        self,
        records: Records,
        sockets: Path,
        groups: Callable[[str], tuple[Path, ...]],
        clock: Clock,
    ) -> None:
        self._records = records
        self._sockets = sockets
        self._groups = groups
        self._clock = clock

    def socket(self, name: str) -> Path:
        """Return where a sandbox's worker listens."""
        return self._sockets / f"{name}.sock"

    def read(self, name: str) -> Record | None:
        """Return the record of a sandbox; one that is damaged is set aside, and gone from then on."""
        try:
            return self._records.read(name)
        except DamagedRecordError as error:
            self._set_aside(name, error.message)
            return None

    def _set_aside(self, name: str, reason: str) -> None:
        folder = self._records.folder(name)
        with self._records.held(name) as there:
            if not there:
                return
            # What its record would say of its processes, as far as it is known without.
            unknown = Labels(Thread("", name), generation=0, idle_ms=0, sandbox_id="")
            groups = tuple(str(group) for group in self._groups(name))
            record = Record("", name, unknown, host_user=owner(folder), groups=groups)
            if not liveness.end_processes(record, folder):
                raise RuntimeUnavailableError(f"{reason} Its processes cannot be ended.")
            cgroups.remove_groups([Path(group) for group in groups])
            self.socket(name).unlink(missing_ok=True)
            place = self._records.set_aside(name)
        log.error("%s The sandbox ends; its files are kept in %s", reason, place)

    def stop(self, uid: str, name: str, generation: int | None = None) -> bool:
        """End a sandbox and delete its files; True when nothing of it is left.

        Needs no room on the disk, so that a full one can be emptied.
        """
        if self.read(name) is None:
            return self._finish_deletion(name)
        with self._records.locked(name) as record:
            if record is not None and record.uid != uid:
                return True
            if record is None:
                return self._finish_deletion(name)
            if generation is not None and record.labels.generation > generation:
                return False
            self._records.mark_ending(record)
            if not liveness.end_processes(record, self._records.folder(name)):
                return False
            cgroups.remove_groups([Path(group) for group in record.groups])
            self.socket(name).unlink(missing_ok=True)
            self._records.discard(name)
        return self._finish_deletion(name)

    def finish_all(self) -> None:
        """Complete what a server that died in the middle of a stop left half done."""
        for name in self._records.names():
            try:
                self._finish(name)
            except (OSError, SandboxError) as error:
                log.warning("Sandbox %s is left for the next round: %s", name, error)
        for name in self._records.half_deleted():
            self._finish_deletion(name)
        self._records.users.reclaim(self._records.owners(), self._clock.now_ms())

    def _finish(self, name: str) -> None:
        record = self.read(name)
        if record is not None and record.ending:
            self.stop(record.uid, name)
        elif record is not None:
            self._end_orphans(name)
        elif self._records.is_unfinished(name, self._clock.now_ms()):
            if self._records.has_files(name):
                self._set_aside(name, f"Sandbox {name} has files and no record.")
            else:
                self._records.discard(name)

    def _end_orphans(self, name: str) -> None:
        """End what outlived a sandbox that ended by itself: the pasta that served its network."""
        status = self._records.folder(name) / "status"
        if "pasta-pid" not in liveness.read_status(status):
            return
        with self._records.locked(name) as record:
            if record is not None and not liveness.is_alive(status):
                liveness.end_processes(record, self._records.folder(name))

    def _finish_deletion(self, name: str) -> bool:
        folder = self._records.ending_folder(name)
        if not folder.exists():
            return True
        user = owner(folder)
        if not (remove_tree(folder / "workspace") and remove_tree(folder)):
            return False
        if user is not None:
            self._records.users.give_back(user)
        return True
