"""Whatever an API server answers: a state, a skip or an error, and nothing called gone for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.budget import tries
from tests.fuzz.cluster import (
    ENDED,
    LABELS,
    LIVING,
    NAME,
    NOT_FOUND,
    THREAD,
    UID,
    WAITING,
    Cluster,
    a_pod,
)
from tests.fuzz.damage import ODD, damaged

from oneseek_sandbox.errors import SandboxError, SandboxLostError
from oneseek_sandbox.runtimes.kubernetes import pods as pods_module
from oneseek_sandbox.runtimes.kubernetes.pod_metadata import CLAIMED, TEMPLATE

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.faults

PODS = st.one_of(
    damaged(a_pod()),
    damaged(a_pod(WAITING)),
    damaged(a_pod(WAITING, claimed=False, phase="Pending")),
    damaged(a_pod(ENDED, phase="Failed")),
)
REFUSALS = st.tuples(
    st.sampled_from([400, 401, 403, 404, 409, 410, 422, 429, 500, 503]), damaged(NOT_FOUND)
)
ANSWERS = st.one_of(
    st.tuples(st.just(200), PODS),
    st.tuples(st.just(200), damaged({"kind": "PodList", "metadata": {}, "items": [a_pod(), a_pod(WAITING)]})),
    st.tuples(st.just(200), damaged({"type": "MODIFIED", "object": a_pod()})),
    REFUSALS,
)  # fmt: skip


def says_gone(status: int, value: Any) -> bool:
    """Whether an answer that is understood says that the pod is no more, or will not be."""
    with contextlib.suppress(AttributeError, KeyError, TypeError):
        if status == 404:
            return value["reason"] == "NotFound" and f'pods "{NAME}" not found' in value["message"]
        metadata = value["metadata"]
        if not (metadata["uid"] and metadata["name"]):
            return False
        if not isinstance(metadata["uid"], str) or not isinstance(metadata["name"], str):
            return False
        if metadata["uid"] != UID:
            return True
        if isinstance(metadata.get("deletionTimestamp"), str) and metadata["deletionTimestamp"]:
            return True
        pod_status = value.get("status") if isinstance(value.get("status"), dict) else {}
        if pod_status.get("phase") in ("Failed", "Succeeded"):
            return True
        annotations = metadata.get("annotations")
        if annotations is not None and (
            not isinstance(annotations, dict) or CLAIMED in annotations
        ):
            return False
        return "CrashLoopBackOff" in json.dumps(pod_status.get("containerStatuses"))
    return False


CALLS = {
    "find": lambda runtime: runtime.find(THREAD),
    "list": lambda runtime: runtime.list(),
    "inspect": lambda runtime: runtime.inspect(UID, NAME),
    "explain": lambda runtime: runtime.explain(UID, NAME),
    "stop": lambda runtime: runtime.stop(UID, NAME),
    "stop if": lambda runtime: runtime.stop(UID, NAME, generation=7),
    "adopt": lambda runtime: runtime.adopt(LIVING, LABELS),
    "mark_claimed": lambda runtime: runtime.mark_claimed(LIVING),
    "create": lambda runtime: runtime.create(LABELS),
    "maintain": lambda runtime: runtime.maintain(),
    "check": lambda runtime: runtime.check(),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_ends_with_a_result_or_an_error_of_ours(name, monkeypatch):
    monkeypatch.setattr(pods_module, "_PAUSE_SECONDS", 0)

    @tries(60)
    @given(data=st.data())
    def attempt(data):
        cluster = Cluster(lambda: data.draw(ANSWERS))

        async def run():
            async with asyncio.timeout(60):
                try:
                    return await CALLS[name](cluster.runtime())
                except SandboxError as error:
                    return error

        judge(name, asyncio.run(run()), cluster)

    attempt()


def judge(name, result, cluster):
    """See that nothing was called gone, or deleted, without an answer that says so."""
    gone = any(says_gone(status, value) for status, value in cluster.answered)
    if result in ("gone", True) or isinstance(result, SandboxLostError):
        assert gone, cluster.answered
    deleted = [path for method, path in cluster.asked if method == "DELETE"]
    if name in ("find", "list", "inspect", "explain", "adopt", "mark_claimed"):
        assert deleted == []
    if name == "maintain" and any("/pods/" in path for path in deleted):
        assert any(phase in json.dumps(cluster.answered) for phase in ("Failed", "Succeeded"))


@tries(200)
@given(pods=st.lists(PODS, max_size=3), template=ODD)
def test_only_a_pod_that_is_understood_is_taken_from_the_pool(pods, template):
    for pod in pods:
        with contextlib.suppress(TypeError, KeyError, AttributeError):
            pod["metadata"]["annotations"][TEMPLATE] = template
    cluster = Cluster(lambda: (200, {"metadata": {}, "items": pods}))
    runtime = cluster.runtime()
    taken = asyncio.run(runtime._pool.take(LABELS, now_ms=1))
    assert taken is None
    assert [method for method, _ in cluster.asked] == ["GET"]
