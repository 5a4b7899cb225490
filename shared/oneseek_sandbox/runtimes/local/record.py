"""What is known of a sandbox on disk: the text of its record."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any

from oneseek_sandbox.errors import RuntimeUnavailableError
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.runtime import Labels

__all__ = ["DamagedRecordError", "Record", "name_prefix", "new_name"]


class DamagedRecordError(RuntimeUnavailableError):
    """Raised when a record is there and cannot be understood: it will never be again."""


@dataclass(frozen=True, slots=True)
class Record:
    """A sandbox as it is on disk.

    Attributes:
        host_user: The private user id its processes run as; None when the server is not root.
        claimed: Its worker was claimed once, so its files are worth keeping.
        restarted: Its processes were lost since, and nobody claimed the new ones yet.
        ending: It is being stopped; it never comes back.
        groups: Its control groups.
    """

    uid: str
    name: str
    labels: Labels
    host_user: int | None = None
    claimed: bool = False
    restarted: bool = False
    ending: bool = False
    groups: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the text of `object.json`."""
        labels, given = self.labels.split()
        values = {"version": 1, **dataclasses.asdict(self), "labels": labels}
        return json.dumps(values | ({"given": given} if given else {}), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Read the text of `object.json`.

        Raises:
            ValueError: It is not one; also KeyError and TypeError.
        """
        values: dict[str, Any] = json.loads(text)
        labels, given = values["labels"], values.get("given", {})
        return cls(
            uid=values["uid"],
            name=values["name"],
            labels=Labels(
                **{**labels, "thread": Thread(**labels["thread"])},
                labels=given.get("labels", ""),
                env=given.get("env", False),
            ),
            host_user=values["host_user"],
            claimed=values["claimed"],
            restarted=values["restarted"],
            ending=values["ending"],
            groups=tuple(values["groups"]),
        )


def name_prefix(thread: Thread) -> str:
    """Return what the names of a thread's sandboxes begin with."""
    text = f"{len(thread.scope)}:{thread.scope}{thread.thread_id}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def new_name(thread: Thread) -> str:
    """Return a name for a new sandbox of `thread`, never used before."""
    return f"{name_prefix(thread)}-{uuid.uuid4().hex[:12]}"
