"""What an API server answers that is not as it should be: nothing is called gone for it."""

from __future__ import annotations

import pytest
from tests.fuzz.cluster import (
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

from oneseek_sandbox.errors import RuntimeUnavailableError
from oneseek_sandbox.runtimes.kubernetes.objects import readable_pod
from oneseek_sandbox.runtimes.kubernetes.pod_metadata import read_labels
from oneseek_sandbox.runtimes.kubernetes.pod_spec import WORKER_CODE_APP

pytestmark = pytest.mark.finding(1, 21)


def runtime_over(status, value):
    return Cluster(lambda: (status, value)).runtime()


def changed(part, **fields):
    pod = a_pod(WAITING)
    pod[part].update(fields)
    return pod


NO_POD = [None, [], "x", {}, {"metadata": None}, changed("metadata", uid=None), {"kind": "Status"}]


@pytest.mark.parametrize("value", NO_POD, ids=repr)
async def test_an_answer_that_is_no_pod_is_an_error(value):
    for call in ("inspect", "explain", "stop"):
        runtime = runtime_over(200, value)
        arguments = {"generation": 7} if call == "stop" else {}
        with pytest.raises(RuntimeUnavailableError, match="server"):
            await getattr(runtime, call)(UID, NAME, **arguments)


@pytest.mark.parametrize(
    "pod",
    [
        changed("metadata", deletionTimestamp=None),
        changed("metadata", deletionTimestamp=5),
        changed("metadata", annotations=[]),
        changed("status", phase="FAILED"),
        changed("status", phase=["Failed"]),
        changed("status", containerStatuses=None),
        {**a_pod(WAITING), "status": None},
    ],
    ids=lambda pod: str(pod["metadata"].get("deletionTimestamp", ""))[:20],
)
async def test_a_pod_of_which_little_is_understood_is_not_gone(pod):
    assert await runtime_over(200, pod).inspect(UID, NAME) == "running"


async def test_only_the_api_servers_own_word_proves_that_a_pod_is_gone():
    assert await runtime_over(404, NOT_FOUND).inspect(UID, NAME) == "gone"
    assert await runtime_over(404, NOT_FOUND).stop(UID, NAME)
    other = 'pods "another" not found'
    unknown_path = "the server could not find the requested resource"
    for answer in (
        "404 page not found",
        {**NOT_FOUND, "reason": ""},
        {**NOT_FOUND, "message": other},
        {**NOT_FOUND, "message": unknown_path},
    ):
        with pytest.raises(RuntimeUnavailableError):
            await runtime_over(404, answer).inspect(UID, NAME)
        with pytest.raises(RuntimeUnavailableError):
            await runtime_over(404, answer).stop(UID, NAME)


async def test_a_list_passes_over_a_pod_that_is_none_and_a_search_of_a_thread_does_not():
    pods = {"metadata": {}, "items": [{}, a_pod()]}
    assert await runtime_over(200, pods).list() == [LIVING]
    with pytest.raises(RuntimeUnavailableError):
        await runtime_over(200, pods).find(THREAD)


async def test_a_pod_at_no_address_is_listed_without_one():
    pods = {"metadata": {}, "items": [changed("status", podIP="300.1.1.1"), a_pod()]}
    assert [found.address for found in await runtime_over(200, pods).list()] == [
        "",
        LIVING.address,
    ]


@pytest.mark.parametrize("page", [{}, {"items": None, "metadata": {}}, {"items": [5]}, [], None])
async def test_a_list_that_cannot_be_understood_is_an_error(page):
    for call in (lambda runtime: runtime.list(), lambda runtime: runtime.find(THREAD)):
        with pytest.raises(RuntimeUnavailableError):
            await call(runtime_over(200, page))


async def test_a_list_that_never_ends_is_an_error():
    page = {"metadata": {"continue": "again"}, "items": []}
    with pytest.raises(RuntimeUnavailableError):
        await runtime_over(200, page).list()


@pytest.mark.parametrize("value", [None, 5, "", "-1", "1_0", "９", "1" * 16])
def test_labels_are_read_whole_or_not_at_all(value):
    assert read_labels(readable_pod(a_pod())) == LABELS
    pod = a_pod()
    pod["metadata"]["annotations"]["oneseek-sandbox/generation"] = value
    assert read_labels(readable_pod(pod)) is None


async def test_no_worker_program_is_dropped_while_a_pod_may_mount_it():
    asked = []

    def answer_over(pod):
        def answer(request):
            asked.append((request.method, request.url.path))
            labelled = request.url.params.get("labelSelector", "")
            program = {"metadata": {"name": "worker-1"}}
            items = [program] if labelled.endswith(WORKER_CODE_APP) else [pod]
            return cluster.respond(200, {"metadata": {}, "items": items})

        cluster = Cluster(lambda: (200, {}))
        cluster.answer = answer
        return cluster.runtime()

    for pod in (a_pod(), {**a_pod(), "spec": None}, {**a_pod(), "spec": {"volumes": [5]}}):
        await answer_over(pod)._upkeep._drop_old_workers()
    assert [path for method, path in asked if method == "DELETE"] == []
    other = {**a_pod(), "spec": {"volumes": [{"configMap": {"name": "worker-2"}}]}}
    await answer_over(other)._upkeep._drop_old_workers()
    assert [path for method, path in asked if method == "DELETE"] == [
        "/api/v1/namespaces/oneseek-sandbox/configmaps/worker-1"
    ]
