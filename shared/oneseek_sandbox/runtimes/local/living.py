"""Which sandboxes of a home have processes now, for a look that starts and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.local import liveness
from oneseek_sandbox.runtimes.local.record import DamagedRecordError
from oneseek_sandbox.runtimes.local.records import Records

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["living_threads"]


def living_threads(home: Path) -> list[Thread]:
    """Return the threads of the sandboxes that live; one that cannot be read goes by its folder.

    Raises:
        RuntimeUnavailableError: The home cannot be read.
    """
    records = Records(home)
    if not records.folder("").exists():
        return []
    found = []
    for name in records.names():
        if not liveness.is_alive(records.folder(name) / "status"):
            continue
        try:
            record = records.read(name)
        except DamagedRecordError:
            record = None
        found.append(record.labels.thread if record else Thread("", name))
    return sorted(found)
