"""What a deployment is broken with; the schedules themselves need a cluster (`make e2e-faults`)."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from tests.faults.deployed.api_proxy import ApiProxy
from tests.faults.deployed.schedule import KINDS, make_schedule
from tests.faults.excuses import FAULTS


def test_a_seed_gives_the_same_schedule_each_time():
    schedules = [make_schedule(seed) for seed in range(100)]
    assert schedules == [make_schedule(seed) for seed in range(100)]
    assert {step.kind for schedule in schedules for step in schedule.steps} == set(KINDS)


def test_every_kind_is_a_fault_that_the_checker_knows():
    assert {name for kind in KINDS.values() for name in kind.history} <= set(FAULTS)


@pytest.fixture
def asked():
    return []


@pytest.fixture
def server(asked):
    """An API server that keeps what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.do_PATCH()

        def do_PATCH(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            asked.append((self.command, self.path, self.headers["authorization"], body))
            self.send_response(201)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
async def proxy(server):
    proxy = ApiProxy(server, ssl.create_default_context())
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def client(proxy):
    url = f"http://127.0.0.1:{proxy.port}"
    headers = {"authorization": "Bearer of-a-function"}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
        yield client


async def test_a_call_passes_with_its_own_credentials(client, asked):
    answer = await client.patch("/api/v1/pods/a", params={"fieldManager": "x"}, content=b"[]")
    assert (answer.status_code, answer.json()) == (201, {})
    path = "/api/v1/pods/a?fieldManager=x"
    assert asked == [("PATCH", path, "Bearer of-a-function", b"[]")]


@pytest.mark.parametrize(
    ("kind", "status", "done"),
    [
        ("api_conflicts", 409, False),
        ("api_busy", 429, False),
        ("api_broken", 500, False),
        ("api_lost", 500, True),
        ("api_late", 201, True),
    ],
)
async def test_a_broken_call_was_done_or_not(proxy, client, asked, kind, status, done):
    proxy.break_calls(kind, 1.0, seed=1)
    answer = await client.patch("/api/v1/pods/a", content=b"[]")
    assert answer.status_code == status
    assert len(asked) == int(done)
    proxy.pass_all()
    assert (await client.patch("/api/v1/pods/a", content=b"[]")).status_code == 201


async def test_reading_conflicts_with_nothing(proxy, client):
    proxy.break_calls("api_conflicts", 1.0, seed=1)
    assert (await client.get("/api/v1/pods/a")).status_code == 201
