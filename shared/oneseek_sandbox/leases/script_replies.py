"""Reading what the Lua scripts answer: flat lists of strings in, the port's types out."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, cast

from oneseek_sandbox.errors import StoreUnavailableError
from oneseek_sandbox.leases.keys import thread_of_tag
from oneseek_sandbox.leases.refusals import RefusalCode, refusal
from oneseek_sandbox.leases.store import (
    Busy,
    Creation,
    Doomed,
    EndReason,
    Granted,
    Lease,
    Placement,
    Resolved,
    Suspected,
    Thread,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oneseek_sandbox.errors import SandboxError

__all__ = [
    "read_acquired",
    "read_all_doomed",
    "read_creation",
    "read_doomed",
    "read_lease",
    "read_listed",
    "read_look",
    "read_refusal",
    "read_resolved",
    "write_placement",
]

_FLAGS: Final = ("warm", "restarted", "fresh")


def read_refusal(code: str, thread: Thread | None, sandbox_id: str | None) -> SandboxError:
    """Return the error for `{'refused', code}`."""
    return refusal(cast("RefusalCode", code), thread=thread, sandbox_id=sandbox_id)


def read_acquired(answer: Sequence[str]) -> Granted | Suspected | Creation | Busy:
    """Read what `acquire.lua` and `restart.lua` answer when they do not refuse."""
    match answer[0]:
        case "granted":
            return Granted(read_lease(answer[1]))
        case "suspected":
            return Suspected(read_lease(answer[1]))
        case "busy":
            return Busy(deadline_ms=int(answer[1]), wait_ms=int(answer[2]))
        case _:
            return read_creation(answer[1])


def read_lease(flat: Sequence[str]) -> Lease:
    """Read a lease."""
    values = _pairs(flat)
    ready = values["state"] == "ready"
    return Lease(
        thread=Thread(values["scope"], values["thread_id"]),
        sandbox_id=values["sandbox_id"],
        generation=int(values["generation"]),
        state="ready" if ready else "creating",
        placement=_read_placement(values) if ready else None,
        idle_ms=int(values["idle_ms"]),
        created_ms=int(values["created_ms"]),
        used_ms=int(values["used_ms"]),
        expires_ms=int(values["expires_ms"]),
        ends_ms=int(values["ends_ms"]),
        suspect=values["suspect"] == "1",
        pins=int(values["pins"]),
        # Not written by earlier versions.
        labels=values.get("labels", ""),
        env_version=int(values.get("env_version", "0")),
        env_lost=values.get("env_lost") == "1",
        busy_until_ms=int(values["busy_until"]),
    )


def read_look(answer: Sequence[Any]) -> tuple[Lease | None, int]:
    """Read what `get.lua` answers: the lease, and how many ms an acquire would have to wait.

    Raises:
        StoreUnavailableError: Its state is of a later version.
    """
    state, *found = answer
    if state == "unknown":
        raise StoreUnavailableError(
            "The thread's lease is in a state that only a later version of oneseek-sandbox "
            "knows. Try again; if this persists, update this server."
        )
    return (read_lease(found[0]), int(found[1])) if state == "lease" else (None, 0)


def read_listed(tag: str, answer: Sequence[Any]) -> Lease | None:
    """Read what `get.lua` answers of one thread among all; None when its lease is over."""
    state, *found = answer
    if state != "unknown":
        return read_lease(found[0]) if state == "lease" else None
    return Lease(
        thread=thread_of_tag(tag),
        sandbox_id="",
        generation=0,
        state="unknown",
        placement=None,
        idle_ms=0,
        created_ms=0,
        used_ms=0,
        expires_ms=0,
    )


def read_creation(flat: Sequence[str]) -> Creation:
    """Read a lease as the right to create its sandbox."""
    values = _pairs(flat)
    return Creation(
        thread=Thread(values["scope"], values["thread_id"]),
        sandbox_id=values["sandbox_id"],
        generation=int(values["generation"]),
        attempt=values["attempt"],
        idle_ms=int(values["idle_ms"]),
        deadline_ms=int(values["deadline_ms"]),
        ended_generation=int(values.get("ended_generation", "0")),
        placement=_read_placement(values) if values["uid"] else None,
        labels=values.get("labels", ""),
        env_version=int(values.get("env_version", "0")),
    )


def read_resolved(answer: Sequence[str]) -> Resolved:
    """Read what `resolve.lua` answers when it does not refuse."""
    _, scope, thread_id, reason = answer
    return Resolved(Thread(scope, thread_id), cast("EndReason", reason) if reason else None)


def read_doomed(entry: str, *, tries: int = 0) -> Doomed:
    """Read one doomed entry."""
    uid, name, scope, thread_id, sandbox_id, generation, reason = json.loads(entry)
    return Doomed(
        uid=uid,
        name=name,
        thread=Thread(scope, thread_id),
        sandbox_id=sandbox_id,
        generation=int(generation),
        reason=cast("EndReason", reason),
        tries=tries,
    )


def read_all_doomed(answer: Sequence[str]) -> list[Doomed]:
    """Read what `doomed.lua` and `take_doomed.lua` answer."""
    pairs = zip(answer[1::2], answer[2::2], strict=True)
    return [read_doomed(entry, tries=int(tries)) for tries, entry in pairs]


def write_placement(placement: Placement) -> list[str]:
    """Return names and values in turn, as `commit.lua` keeps them."""
    flat: list[str] = []
    for field in fields(placement):
        value = getattr(placement, field.name)
        if field.name in _FLAGS:
            value = str(int(value))
        elif field.name == "features":
            # With the process that has them: a server of before writes the next process over it,
            # and leaves alone what it does not know.
            value = " ".join((placement.boot_id, *value))
        flat += [field.name, value]
    return flat


def _read_placement(values: dict[str, str]) -> Placement:
    return Placement(
        uid=values["uid"],
        name=values["name"],
        address=values["address"],
        token=values["token"],
        key_id=values["key_id"],
        boot_id=values["boot_id"],
        warm=values["warm"] == "1",
        restarted=values["restarted"] == "1",
        # Not written by earlier versions.
        fresh=values.get("fresh") == "1",
        features=_read_features(values),
    )


def _read_features(values: dict[str, str]) -> tuple[str, ...]:
    boot_id, *features = values.get("features", "").split(" ")
    return tuple(features) if boot_id == values["boot_id"] else ()


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
