"""Acquires that come at once share one look at the pool, and never try the same pod."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from oneseek_sandbox.errors import RuntimeUnavailableError
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.kubernetes import warm_pool
from oneseek_sandbox.runtimes.kubernetes.api import ApiRefusalError
from oneseek_sandbox.runtimes.kubernetes.pod_metadata import TEMPLATE
from oneseek_sandbox.runtimes.kubernetes.warm_pool import WarmPool
from oneseek_sandbox.runtimes.runtime import Labels
from oneseek_sandbox.settings import Settings

LABELS = Labels(Thread("default", "thread"), 1, 900_000, "0" * 32)


def pod(number):
    return {
        "metadata": {"name": f"p{number}", "uid": f"u{number}", "annotations": {TEMPLATE: "now"}},
        "status": {
            "phase": "Running",
            "podIP": f"10.0.0.{number}",
            "containerStatuses": [{"restartCount": 0, "state": {"running": {}}}],
        },
    }


class Api:
    """A pool as an API server shows it, which refuses the second of two who take a pod."""

    def __init__(self, pods):
        self.waiting = {found["metadata"]["name"]: found for found in pods}
        self.looks, self.refused = 0, 0
        self.answering = asyncio.Event()
        self.answering.set()
        self.away = False

    async def get(self, path, **_):
        self.looks += 1
        seen = {"items": list(self.waiting.values())}
        await self.answering.wait()
        if self.away:
            raise RuntimeUnavailableError("The Kubernetes API server is not available.")
        return seen

    async def patch(self, path, operations):
        await asyncio.sleep(0)
        found = self.waiting.pop(path.rpartition("/")[2], None)
        if found is None:
            self.refused += 1
            raise ApiRefusalError(422, "Invalid", "the test of /metadata/labels/app failed")
        return found


def pool_of(api):
    return WarmPool(Settings(), api, SimpleNamespace(digest="now"), pods=None)


async def names(takes):
    return [taken and taken["metadata"]["name"] for taken in await asyncio.gather(*takes)]


async def test_twenty_acquires_at_once_take_twenty_pods_with_one_look():
    api = Api(pod(number) for number in range(20))
    pool = pool_of(api)
    taken = await names(pool.take(LABELS, now_ms=1) for _ in range(20))
    assert sorted(taken) == sorted(f"p{number}" for number in range(20))
    assert (api.looks, api.refused) == (1, 0)


async def test_those_for_whom_nothing_is_left_find_out_by_one_more_look():
    api = Api(pod(number) for number in range(3))
    pool = pool_of(api)
    taken = await names(pool.take(LABELS, now_ms=1) for _ in range(10))
    assert sorted(filter(None, taken)) == ["p0", "p1", "p2"]
    assert taken.count(None) == 7
    assert api.looks <= 2


async def test_a_pod_that_came_since_the_last_look_is_found():
    api = Api([])
    pool = pool_of(api)
    assert await pool.take(LABELS, now_ms=1) is None
    api.waiting["p1"] = pod(1)
    assert (await pool.take(LABELS, now_ms=1))["metadata"]["name"] == "p1"


async def test_what_another_replica_took_is_passed_over():
    api = Api(pod(number) for number in range(4))
    pool = pool_of(api)
    await pool.take(LABELS, now_ms=1)
    name, left = api.waiting.popitem()
    api.waiting = {name: left}
    assert (await pool.take(LABELS, now_ms=1))["metadata"]["name"] == name
    assert await pool.take(LABELS, now_ms=1) is None


async def test_a_look_of_before_is_not_believed_for_long(monkeypatch):
    api = Api(pod(number) for number in range(2))
    pool = pool_of(api)
    await pool.take(LABELS, now_ms=1)
    monkeypatch.setattr(warm_pool, "_FRESH_SECONDS", -1.0)
    await pool.take(LABELS, now_ms=1)
    assert api.looks == 2


@pytest.mark.finding(24)
async def test_an_acquire_that_comes_just_when_a_look_has_ended_looks_for_itself():
    api = Api([])
    pool = pool_of(api)
    api.answering.clear()
    first = asyncio.ensure_future(pool.take(LABELS, now_ms=1))
    while not api.looks:
        await asyncio.sleep(0)
    api.answering.set()  # the look ends in the next turn of the loop; the second comes right after it
    second = asyncio.ensure_future(pool.take(LABELS, now_ms=1))
    assert await asyncio.gather(first, second) == [None, None]
    assert api.looks == 2


async def test_a_look_that_fails_fails_for_all_who_waited_and_the_next_looks_again():
    api = Api([pod(1)])
    pool = pool_of(api)
    api.away = True
    api.answering.clear()
    takes = [asyncio.ensure_future(pool.take(LABELS, now_ms=1)) for _ in range(3)]
    await asyncio.sleep(0)
    api.answering.set()
    results = await asyncio.gather(*takes, return_exceptions=True)
    assert [type(result) for result in results] == [RuntimeUnavailableError] * 3
    api.away = False
    assert (await pool.take(LABELS, now_ms=1))["metadata"]["name"] == "p1"
    assert api.looks == 2


async def test_who_leaves_while_it_waits_for_the_look_keeps_nobody_from_a_pod():
    api = Api([pod(1)])
    pool = pool_of(api)
    api.answering.clear()
    leaving = asyncio.ensure_future(pool.take(LABELS, now_ms=1))
    staying = asyncio.ensure_future(pool.take(LABELS, now_ms=1))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    api.answering.set()
    assert (await staying)["metadata"]["name"] == "p1"
    assert api.looks == 1
