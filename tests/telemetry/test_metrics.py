"""`/metrics`: for operators, in Prometheus's form, and nothing of whose call it was."""

from __future__ import annotations

import asyncio
import json
import re

import httpx
import pytest
from tests.telemetry.collector import until
from tests.telemetry.conftest import KEY

from oneseek_sandbox.errors import StoreUnavailableError
from oneseek_sandbox.gateway.app import create_app
from oneseek_sandbox.http.service import Service
from oneseek_sandbox.settings import Settings
from oneseek_sandbox.telemetry import instruments
from oneseek_sandbox.telemetry.registry import Counter, Gauge, Histogram, written

SAMPLE = re.compile(r'^[a-z_]+(\{([a-z_]+="[^"\\]*",?)+\})? [0-9.e+-]+$')
BOUND_KEY = "key-bound-to-one-scope-only"


@pytest.fixture(scope="module")
def plain_server(new_server, tmp_path_factory):
    """A server without a collector, with an operator's key and a bound one."""
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    keys.write_text(json.dumps([{"name": "bound", "key": BOUND_KEY, "scopes": ["tenant"]}]))
    return new_server(key=KEY, settings={"PROVISIONER_API_KEYS_FILE": str(keys)})


@pytest.fixture
async def client(plain_server):
    async with plain_server.async_client() as client:
        yield client


async def _scraped(client):
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = response.text.splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert [line for line in samples if not SAMPLE.match(line)] == []
    return {
        line.rpartition(" ")[0].removeprefix("oneseek_sandbox_"): float(line.rpartition(" ")[2])
        for line in samples
    }


async def test_only_an_operator_reads_the_metrics(client):
    for headers, status in (
        ({"authorization": ""}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": f"Bearer {BOUND_KEY}"}, 403),
        ({}, 200),
    ):
        response = await client.get("/metrics", headers=headers)
        assert response.status_code == status
        assert status == 200 or response.json()["error"]["trace_id"]
    assert (await client.post("/metrics")).status_code == 405


async def test_calls_are_counted_by_verb_and_outcome_and_never_by_whose_they_are(client):
    before = await _scraped(client)
    ours = {"thread_id": "thread-nobody-may-know", "scope": "scope-nobody-may-know"}
    for _ in range(2):
        await client.post("/v1/sandbox/acquire", json=ours)
    await client.post("/v1/sandbox/execute", json={**ours, "command": "exit 1"})
    await client.post("/v1/sandbox/read_file", json={**ours, "path": "/workspace/none"})
    await client.post("/v1/sandbox/acquire", json={"thread_id": ""})
    after = await _scraped(client)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    count = "operation_duration_seconds_count"
    assert grown['acquires_total{outcome="cold",code=""}'] == 1
    assert grown['acquires_total{outcome="reused",code=""}'] == 1
    assert grown['acquires_total{outcome="refused",code="invalid_request"}'] == 1
    assert grown[count + '{verb="execute",outcome="ok"}'] == 1
    assert grown[count + '{verb="read_file",outcome="file_not_found"}'] == 1
    assert after["live_sandboxes"] == 1
    text = (await client.get("/metrics")).text
    assert "nobody-may-know" not in text
    await client.post("/v1/sandbox/release", json=ours)
    assert (await _scraped(client))["live_sandboxes"] == 0


async def test_calls_over_one_connection_have_traces_of_their_own(client):
    calls = [await client.post("/v1/sandbox/ls", json={"thread_id": "nobody"}) for _ in range(3)]
    ids = [call.json()["error"]["trace_id"] for call in calls]
    assert ids == [call.headers["x-trace-id"] for call in calls]
    assert len(set(ids)) == 3


async def test_a_streamed_call_is_counted_when_it_ends(client):
    ours = {"thread_id": "streamed"}
    await client.post("/v1/sandbox/acquire", json=ours)
    wants = {"accept": "text/event-stream"}
    body = {**ours, "command": "sleep 0.3"}
    await client.post("/v1/sandbox/execute", json=body, headers=wants)
    after = await _scraped(client)
    bucket = 'operation_duration_seconds_bucket{verb="execute",outcome="ok",le='
    assert after[bucket + '"0.25"}'] < after[bucket + '"+Inf"}']


class _StoreIsAway:
    async def count_live(self):
        raise StoreUnavailableError("The store does not answer.")


class _StoreIsSilent:
    async def count_live(self):
        await asyncio.Event().wait()


@pytest.mark.parametrize("provisioner", [_StoreIsAway(), _StoreIsSilent()])
async def test_metrics_are_read_while_the_store_is_away(provisioner, monkeypatch):
    monkeypatch.setattr("oneseek_sandbox.http.service._LOOK_SECONDS", 0.05)
    instruments.LIVE.set(7)
    settings = Settings()
    service = Service(settings, control=True, provisioner=provisioner)
    transport = httpx.ASGITransport(create_app(settings, service))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert "live_sandboxes" not in await _scraped(client)


async def test_the_same_figures_go_to_a_collector(remote, collector):
    await remote.acquire("to a collector")

    def find():
        found = collector.metrics()
        labels = frozenset({("outcome", "cold"), ("code", "")})
        counted = found.get(("oneseek_sandbox_acquires", labels))
        return counted if counted and counted.as_int + counted.as_double >= 1 else None

    until(find, "the counter of acquires")
    await remote.cleanup_idle()
    until(lambda: collector.metrics().get(("oneseek_sandbox_live_sandboxes", frozenset())), "live")
    names = {name for name, _ in collector.metrics()}
    assert "oneseek_sandbox_operation_duration" in names


def test_a_histogram_counts_each_observation_in_all_buckets_above_it():
    histogram = Histogram("seconds", "Meaning.", ("verb",), bounds=(0.1, 1))
    for seconds in (0.05, 0.1, 0.5, 3):
        histogram.observe(seconds, "ls")
    assert written([histogram]).splitlines() == [
        "# HELP seconds Meaning.",
        "# TYPE seconds histogram",
        'seconds_bucket{verb="ls",le="0.1"} 2',
        'seconds_bucket{verb="ls",le="1"} 3',
        'seconds_bucket{verb="ls",le="+Inf"} 4',
        'seconds_sum{verb="ls"} 3.65',
        'seconds_count{verb="ls"} 4',
    ]


def test_large_counts_are_written_in_full_and_labels_escaped():
    counter = Counter("things_total", "Meaning.", ("kind",))
    counter.add(12_345_678, 'a "b"\n\\')
    assert written([counter]).splitlines()[2] == 'things_total{kind="a \\"b\\"\\n\\\\"} 12345678'


def test_a_gauge_that_is_not_known_is_not_written():
    gauge = Gauge("live", "Meaning.")
    assert written([gauge]) == ""
    gauge.set(3)
    assert written([gauge]) == "# HELP live Meaning.\n# TYPE live gauge\nlive 3\n"
    gauge.forget()
    assert written([gauge]) == ""
