"""The server's log: a line for each call, each sandbox made or ended and each refused key; no secret."""

from __future__ import annotations

import json
import secrets

import httpx
import pytest

from oneseek_sandbox.testing.verbs.calls import call

pytestmark = pytest.mark.finding(20)

KEY = "key-of-the-log-" + secrets.token_hex(8)
BOUND = "bound-" + secrets.token_hex(8)


@pytest.fixture
def server(new_server, tmp_path):
    keys = tmp_path / "keys.json"
    entries = [{"name": "ci", "key": KEY}, {"name": "tenant", "key": BOUND, "scopes": ["t"]}]
    keys.write_text(json.dumps(entries))
    server = new_server(settings={"PROVISIONER_API_KEYS_FILE": str(keys)})
    server.key = KEY
    return server


def lines_of(server):
    """What was logged until the server's orderly end, which writes all of it."""
    with server.client() as client:
        for sandbox in client.get("/v1/sandbox").json()["sandboxes"]:
            client.post("/v1/sandbox/release", json={"sandbox_id": sandbox["sandbox_id"]})
    server.stop()
    text = server.log.read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    server.start()
    return text, lines


async def test_a_call_is_one_line_without_what_passed_through_it(server):
    secret = "s3cr" + secrets.token_hex(8)
    async with server.async_client() as client:
        sandbox = await call(client, "acquire", thread_id="t1")
        named = {"sandbox_id": sandbox["sandbox_id"]}
        await call(client, "execute", command=f"echo {secret}", env={"A": secret}, **named)
        await call(client, "write_file", path=f"/workspace/{secret}", content=secret, **named)
        missing = await client.post(
            "/v1/sandbox/read_file", json={**named, "path": f"/workspace/none{secret}"}
        )
        async with client.stream(
            "POST",
            "/v1/sandbox/execute",
            json={"thread_id": "t1", "command": f"echo {secret}"},
            headers={"accept": "text/event-stream"},
        ) as streamed:
            await streamed.aread()
    text, lines = lines_of(server)
    calls = [line for line in lines if line["message"] == "Answered a call"]
    told = [(line["verb"], line["status"], line.get("error", "")) for line in calls]
    assert told[:5] == [
        ("acquire", 200, ""),
        ("execute", 200, ""),
        ("write_file", 200, ""),
        ("read_file", 404, "file_not_found"),
        ("execute", 200, ""),
    ]
    assert {line["caller"] for line in calls} == {"ci"}
    assert all(line["duration_ms"] > 0 for line in calls)
    assert [line.get("sandbox_id") for line in calls[:4]] == [sandbox["sandbox_id"]] * 4
    assert calls[4]["thread_id"] == "t1"
    assert calls[3]["trace_id"] == missing.json()["error"]["trace_id"]
    assert calls[4]["trace_id"] == streamed.headers["x-trace-id"]
    for planted in (secret, KEY, BOUND):
        assert planted not in text


async def test_a_stream_that_was_read_to_its_end_was_not_cancelled(server):
    async with server.async_client() as client:
        await call(client, "acquire", thread_id="t1")
        named = {"thread_id": "t1", "request_id": "r"}
        await call(client, "execute", command="echo 1; sleep 600", background=True, **named)
        answer = await client.post(
            "/v1/sandbox/attach",
            json={**named, "wait_seconds": 0.1},
            headers={"accept": "text/event-stream"},
        )
    assert "event: again" in answer.text
    _, lines = lines_of(server)
    (line,) = [line for line in lines if line.get("verb") == "attach"]
    assert (line["status"], line.get("error")) == (200, None)


async def test_a_sandbox_made_and_ended_is_told_with_who_and_why(server):
    async with server.async_client() as client:
        made = await call(client, "acquire", thread_id="t1")
        await call(client, "acquire", thread_id="t1")
        await call(client, "release", thread_id="t1")
        await call(client, "acquire", thread_id="t2", idle_timeout_seconds=1)
        await call(client, "release", thread_id="t1")
    _, lines = lines_of(server)
    told = [line for line in lines if line["message"].endswith("a sandbox")]
    assert [line["message"] for line in told[:3]] == [
        "Made a sandbox",
        "Ended a sandbox",
        "Made a sandbox",
    ]
    for line in told[:2]:
        assert line["caller"] == "ci"
        assert (line["scope"], line["thread_id"]) == ("default", "t1")
        assert line["sandbox_id"] == made["sandbox_id"]
        assert line["trace_id"]
    assert told[1]["why"] == "released"


async def test_a_refused_call_is_in_the_log_under_its_trace_id(server):
    answers = {}
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:

        async def post(name, verb, headers, **fields):
            answers[name] = await client.post(f"/v1/sandbox/{verb}", headers=headers, json=fields)

        bound = {"authorization": f"Bearer {BOUND}"}
        wrong = "wrong-" + secrets.token_hex(12)
        await post("no key", "ls", {}, thread_id="t")
        await post("wrong key", "ls", {"authorization": f"Bearer {wrong}"}, thread_id="t")
        await post("other scope", "ls", bound, thread_id="t", scope="another")
        await post("web page", "ls", {**bound, "origin": "https://evil.example"}, thread_id="t")
        await post("no verb", "lss", bound, thread_id="t")
        answers["metrics"] = await client.get("/metrics", headers=bound)
        answers["nothing"] = await client.get("/nothing")
        answers["method"] = await client.post("/healthz")
    text, lines = lines_of(server)
    by_trace = {line["trace_id"]: line for line in lines if "trace_id" in line}
    seen = {name: by_trace[answer.json()["error"]["trace_id"]] for name, answer in answers.items()}
    for name, answer in answers.items():
        assert (seen[name]["status"], seen[name]["error"]) == (
            answer.status_code,
            answer.json()["error"]["code"],
        )
    assert {name for name, line in seen.items() if line["message"] == "Refused a key"} == {
        "no key",
        "wrong key",
        "other scope",
    }
    assert seen["other scope"]["caller"] == "tenant"
    assert seen["wrong key"]["peer"] == "127.0.0.1"
    assert seen["web page"]["level"] == "warning"
    assert seen["nothing"]["path"] == "/nothing"
    assert wrong not in text
