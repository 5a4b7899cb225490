"""What a pod says about its sandbox: labels and annotations, and the patches that change them.

Every patch tests what it stands on (the uid, and what the pod said before), so that of two who
found the same pod one wins. Those tests do not break when kubelet writes the pod's status.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.leases.given import is_mapping
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.runtime import Labels

if TYPE_CHECKING:
    from oneseek_sandbox.runtimes.kubernetes.api import Resource

__all__ = [
    "APP",
    "CLAIMED",
    "PREFIX",
    "TEMPLATE",
    "WARM",
    "WARM_APP",
    "WORKER_APP",
    "adopting",
    "annotating",
    "claiming",
    "fresh_metadata",
    "read_labels",
    "taking",
    "thread_selector",
]

APP: Final = "app"
WORKER_APP: Final = "oneseek-sandbox-worker"
WARM_APP: Final = "oneseek-sandbox-warm"

PREFIX: Final = "oneseek-sandbox/"
TEMPLATE: Final = PREFIX + "template"
CLAIMED: Final = PREFIX + "claimed"
WARM: Final = PREFIX + "warm"
_THREAD: Final = PREFIX + "thread"
_GENERATION: Final = PREFIX + "generation"
_THREAD_ID: Final = PREFIX + "thread-id"
_SCOPE: Final = PREFIX + "scope"
_SANDBOX_ID: Final = PREFIX + "sandbox-id"
_IDLE_MS: Final = PREFIX + "idle-ms"
_CREATED_MS: Final = PREFIX + "created-ms"
_GIVEN_LABELS: Final = PREFIX + "labels"
_GIVEN_ENV: Final = PREFIX + "env"
_DIGITS: Final = 15  # of a number that the store can hold


def thread_selector(thread: Thread) -> str:
    """Return the label selector of a thread's pods; label values cannot hold its text."""
    return f"{APP}={WORKER_APP},{_THREAD}={_thread_hash(thread)}"


def fresh_metadata(labels: Labels, *, now_ms: int) -> tuple[dict[str, str], dict[str, str]]:
    """Return the labels and annotations of a pod that is labelled for the first time."""
    annotations = _annotations(labels) | {_CREATED_MS: str(now_ms)}
    return {APP: WORKER_APP} | _labels(labels), annotations


def read_labels(pod: Resource) -> Labels | None:
    """Return what a pod says about itself; None when nobody took it, or it is not readable."""
    annotations = pod["metadata"].get("annotations", {})
    names = (_SCOPE, _THREAD_ID, _SANDBOX_ID, _GENERATION, _IDLE_MS, _CREATED_MS)
    texts = [annotations.get(name) for name in names]
    if not all(isinstance(text, str) for text in texts):
        return None
    scope, thread_id, sandbox_id, *numbers = texts
    if not all(text.isascii() and text.isdigit() and len(text) <= _DIGITS for text in numbers):
        return None
    generation, idle_ms, created_ms = map(int, numbers)
    given = annotations.get(_GIVEN_LABELS)
    return Labels(
        Thread(scope, thread_id),
        generation,
        idle_ms,
        sandbox_id,
        created_ms,
        labels=given if is_mapping(given) else "",
        env=_GIVEN_ENV in annotations,
    )


def taking(pod: Resource, labels: Labels, *, now_ms: int) -> list[Resource]:
    """Return the patch that takes a pod out of the pool: its ReplicaSet lets go and makes another."""
    fresh, annotations = fresh_metadata(labels, now_ms=now_ms)
    operations = [
        _test("uid", pod["metadata"]["uid"]),
        _test("labels/" + APP, WARM_APP),
        {"op": "remove", "path": "/metadata/ownerReferences"},
        *_set("labels", fresh),
    ]
    return operations + _set("annotations", annotations | {WARM: "true"})


def adopting(uid: str, found: Labels, labels: Labels) -> list[Resource]:
    """Return the patch that labels a found pod anew; it stays claimed if it was."""
    return [
        *_unchanged(uid, found),
        *_set("labels", _labels(labels)),
        *_set("annotations", _annotations(labels)),
    ]


def claiming(uid: str, found: Labels) -> list[Resource]:
    """Return the patch that marks a pod as claimed."""
    return [*_unchanged(uid, found), *_set("annotations", {CLAIMED: "true"})]


def annotating(uid: str, labels: Labels) -> list[Resource]:
    """Return the patch that writes what acquires have given on a pod that is in use."""
    return [*_unchanged(uid, labels), *_set("annotations", _given(labels))]


def _unchanged(uid: str, found: Labels) -> list[Resource]:
    return [
        _test("uid", uid),
        _test("annotations/" + _GENERATION, str(found.generation)),
        _test("annotations/" + _SANDBOX_ID, found.sandbox_id),
    ]


def _labels(labels: Labels) -> dict[str, str]:
    return {_THREAD: _thread_hash(labels.thread), _GENERATION: str(labels.generation)}


def _annotations(labels: Labels) -> dict[str, str]:
    return {
        _SCOPE: labels.thread.scope,
        _THREAD_ID: labels.thread.thread_id,
        _GENERATION: str(labels.generation),
        _IDLE_MS: str(labels.idle_ms),
        _SANDBOX_ID: labels.sandbox_id,
        **_given(labels),
    }


def _given(labels: Labels) -> dict[str, str]:
    """Return what acquires gave: their labels as they are, of variables only that there were some."""
    labelled = {_GIVEN_LABELS: labels.labels} if labels.labels else {}
    return labelled | ({_GIVEN_ENV: "true"} if labels.env else {})


def _thread_hash(thread: Thread) -> str:
    text = json.dumps([thread.scope, thread.thread_id])
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _set(kind: str, values: dict[str, str]) -> list[Resource]:
    return [
        {"op": "add", "path": f"/metadata/{kind}/{_escape(key)}", "value": value}
        for key, value in values.items()
    ]


def _test(where: str, value: str) -> Resource:
    kind, _, key = where.partition("/")
    path = f"/metadata/{kind}/{_escape(key)}" if key else f"/metadata/{kind}"
    return {"op": "test", "path": path, "value": value}


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
