"""What is written about a sandbox after it was made, and how one of many writers wins.

Labels of the Docker API never change, so a sandbox's record is a row of volumes that nobody mounts.
The container's own label is record 0; whoever makes the volume of record n + 1 has made that change.
The engine lets one volume have a name, and tells everybody the labels of its first maker.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.runtime import Labels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oneseek_sandbox.runtimes.docker.engine import Engine, Resource

__all__ = [
    "CREATED_MS",
    "GIVEN",
    "HANDOVER",
    "KEY_ID",
    "LISTENER",
    "NAME",
    "PREFIX",
    "RECORD",
    "ROLE",
    "THREAD",
    "Record",
    "Records",
    "first_labels",
    "labels_of",
    "name_of",
    "newest_of",
    "thread_label",
]

PREFIX: Final = "oneseek-sandbox."
KEY_ID: Final = PREFIX + "realm"  # the name that stored labels have
"""The key id of the servers that can claim its worker; others do not see the sandbox."""
ROLE: Final = PREFIX + "role"
"""What an object is: sandbox, LISTENER, files, HANDOVER, network or record."""
LISTENER: Final = "door"  # the name that stored labels have
HANDOVER: Final = "gate"  # likewise: the volume where the socket is handed over
NAME: Final = PREFIX + "name"
"""The sandbox that a resource belongs to."""
THREAD: Final = PREFIX + "thread"
CREATED_MS: Final = PREFIX + "created-ms"
RECORD: Final = PREFIX + "record"
GIVEN: Final = PREFIX + "given"
"""What acquires gave, beside the record, which earlier versions read as a whole."""
_NUMBER: Final = PREFIX + "number"
_WRITER: Final = PREFIX + "writer"


@dataclass(frozen=True, slots=True)
class Record:
    """What a sandbox says about itself.

    Attributes:
        number: Of the change that made it so.
        ending: A stop has begun; nothing comes after it.
    """

    labels: Labels
    claimed: bool = False
    restarted: bool = False
    ending: bool = False
    number: int = 0

    def to_labels(self) -> dict[str, str]:
        """Return the labels that hold it."""
        _, given = self.labels.split()
        return {RECORD: self.to_json()} | ({GIVEN: json.dumps(given)} if given else {})

    def to_json(self) -> str:
        """Return it as the text of a label."""
        values, _ = self.labels.split()
        thread = values.pop("thread")
        for name in ("claimed", "restarted", "ending"):
            values[name] = getattr(self, name)
        return json.dumps([thread["scope"], thread["thread_id"], values])

    @classmethod
    def from_labels(cls, labels: dict[str, str], number: int) -> Record:
        """Read it from the labels that hold it.

        Raises:
            ValueError: It is not one.
        """
        try:
            scope, thread_id, values = json.loads(labels.get(RECORD, ""))
            given = json.loads(labels.get(GIVEN, "{}"))
            values |= {"labels": given.get("labels", ""), "env": given.get("env", False)}
            flags = {name: bool(values.pop(name)) for name in ("claimed", "restarted", "ending")}
            return cls(Labels(thread=Thread(scope, thread_id), **values), **flags, number=number)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a sandbox's record: {error}") from error


class Records:
    """Reads and writes the records of one key's sandboxes."""

    def __init__(self, engine: Engine, key_id: str) -> None:
        self._engine = engine
        self._key_id = key_id

    def newest(self, name: str, container_labels: dict[str, str]) -> Record | None:
        """Return a sandbox's record as it is now; None when its container carries none."""
        return newest_of(container_labels, self.written(f"{NAME}={name}").get(name, []))

    def written(self, *labels: str) -> dict[str, list[Resource]]:
        """Return the volumes that are records and carry these labels, by sandbox."""
        found: dict[str, list[Resource]] = {}
        for volume in self._engine.volumes(f"{KEY_ID}={self._key_id}", f"{ROLE}=record", *labels):
            found.setdefault(volume["Labels"][NAME], []).append(volume)
        return found

    def change(self, name: str, record: Record, **changes: Any) -> Record | None:  # noqa: ANN401
        """Write what follows a record; None when another has written its successor."""
        changed = dataclasses.replace(record, **changes, number=record.number + 1)
        writer = secrets.token_hex(16)
        labels = first_labels(self._key_id, name, record.labels) | {
            ROLE: "record",
            **changed.to_labels(),
            _NUMBER: str(changed.number),
            _WRITER: writer,
        }
        made = self._engine.create_volume(f"{name}-record-{changed.number}", labels)
        return changed if made.get(_WRITER) == writer else None


def newest_of(container_labels: dict[str, str], written: Iterable[Resource]) -> Record | None:
    """Return the newest of a container's own record and the written ones; None when not readable."""
    said = {0: container_labels}
    for volume in written:
        said[int(volume["Labels"][_NUMBER])] = volume["Labels"]
    number = max(said)
    try:
        return Record.from_labels(said[number], number)
    except ValueError:
        return None


def first_labels(key_id: str, name: str, labels: Labels) -> dict[str, str]:
    """Return the labels that all resources of a new sandbox carry."""
    return {
        KEY_ID: key_id,
        NAME: name,
        CREATED_MS: str(labels.created_ms),
        THREAD: _thread_hash(labels.thread),
    }


def thread_label(thread: Thread) -> str:
    """Return what the resources of a thread's sandboxes are found by."""
    return f"{THREAD}={_thread_hash(thread)}"


def labels_of(resource: Resource) -> dict[str, str]:
    """Return the labels of anything; only an inspected container has them in its configuration."""
    labels: dict[str, str] = (
        resource["Labels"] if "Labels" in resource else resource["Config"]["Labels"]
    )
    return labels


def name_of(resource: Resource) -> str:
    """Return the sandbox that a resource belongs to."""
    return labels_of(resource)[NAME]


def _thread_hash(thread: Thread) -> str:
    text = json.dumps([thread.scope, thread.thread_id])
    return hashlib.sha256(text.encode()).hexdigest()[:40]
