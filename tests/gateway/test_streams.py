"""Streams keep the rules of every call: statuses, pins, exact bytes, and callers who leave."""

from __future__ import annotations

import asyncio
import base64
import secrets

import httpx
import pytest

from oneseek_sandbox.testing.verbs.calls import Sandbox, call

EVENTS = {"accept": "text/event-stream"}
BYTES = {"accept": "application/octet-stream"}


@pytest.fixture(scope="module")
def server(new_server):
    return new_server(key="key-of-the-streams")


@pytest.fixture
async def client(server):
    async with server.async_client() as client:
        yield client


@pytest.fixture
async def sandbox(client):
    sandbox = Sandbox(client, await call(client, "acquire", thread_id=secrets.token_hex(6)))
    yield sandbox
    await sandbox.client.post("/v1/sandbox/release", json={"sandbox_id": sandbox.id})


async def running(sandbox):
    listed = (await sandbox.client.get("/v1/sandbox")).json()["sandboxes"]
    return next(entry["running"] for entry in listed if entry["sandbox_id"] == sandbox.id)


async def until_running(sandbox, wanted):
    async with asyncio.timeout(60):
        while await running(sandbox) != wanted:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"thread_id": "nobody", "command": "true"}, 404, "lease_not_found"),
        ({"command": "true", "timeout_seconds": 1e6}, 400, "invalid_request"),
        ({"command": "true", "cwd": "/workspace/nowhere"}, 404, "file_not_found"),
        ({"command": "true", "cwd": "/etc"}, 400, "path_outside_workspace"),
    ],
)
async def test_what_is_refused_before_it_starts_has_a_status(sandbox, fields, status, code):
    named = {} if "thread_id" in fields else {"sandbox_id": sandbox.id}
    response = await sandbox.client.post("/v1/sandbox/execute", json=named | fields, headers=EVENTS)
    assert response.status_code == status, response.text
    assert response.json()["error"]["code"] == code


async def test_a_silent_command_has_its_status_while_it_runs(sandbox):
    async with sandbox.client.stream(
        "POST",
        "/v1/sandbox/execute",
        json={"sandbox_id": sandbox.id, "command": "until [ -e go ]; do sleep 0.01; done"},
        headers=EVENTS,
    ) as response:
        assert response.status_code == 200
        await sandbox.write("/workspace/go", "")
        assert "event: exit" in (await response.aread()).decode()


@pytest.mark.promise(5)
async def test_a_dropped_event_stream_ends_its_command_and_lets_its_pin_go(sandbox):
    async with sandbox.client.stream(
        "POST",
        "/v1/sandbox/execute",
        json={"sandbox_id": sandbox.id, "command": "echo up; sleep 71"},
        headers=EVENTS,
    ) as response:
        async for line in response.aiter_lines():
            if "up" in line:
                break
    await until_running(sandbox, 0)
    async with asyncio.timeout(60):
        while (await sandbox.run(["pgrep", "-f", "sleep 71"]))["exit_code"] == 0:
            await asyncio.sleep(0.05)


@pytest.mark.promise(5)
async def test_a_download_that_is_dropped_lets_its_pin_go(sandbox):
    await sandbox.run("head -c 60000000 /dev/zero > big")
    request = {"sandbox_id": sandbox.id, "path": "/workspace/big"}
    async with sandbox.client.stream(
        "POST", "/v1/sandbox/read_file", json=request, headers=BYTES
    ) as response:
        chunks = response.aiter_bytes()  # kept: collected, it would close the response
        await anext(chunks)
        assert await running(sandbox) == 1
    await until_running(sandbox, 0)
    # And one whose caller leaves while the worker still reads the file for its hash.
    for _ in range(5):
        with pytest.raises(httpx.ReadTimeout):
            await sandbox.client.post(
                "/v1/sandbox/read_file",
                json=request,
                headers=BYTES,
                timeout=httpx.Timeout(10, read=0.02),
            )
    await until_running(sandbox, 0)


@pytest.mark.promise(5)
async def test_an_upload_that_is_dropped_changes_nothing_and_lets_its_pin_go(sandbox):
    await sandbox.write("/workspace/f", "before")

    async def broken():
        yield b"x" * 100_000
        await until_running(sandbox, 1)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await sandbox.client.post(
            "/v1/sandbox/write_file",
            params={"sandbox_id": sandbox.id, "path": "/workspace/f"},
            content=broken(),
            headers={"content-type": "application/octet-stream"},
        )
    await until_running(sandbox, 0)
    assert (await sandbox.read("/workspace/f"))["content"] == "before"
    assert [entry["path"] for entry in (await sandbox.call("ls"))["entries"]] == ["/workspace/f"]


async def test_a_dropped_command_leaves_no_traceback_in_the_log(sandbox, server):
    with pytest.raises(httpx.ReadTimeout):
        await sandbox.client.post(
            "/v1/sandbox/execute",
            json={"sandbox_id": sandbox.id, "command": "sleep 72"},
            timeout=httpx.Timeout(10, read=0.3),
        )
    await until_running(sandbox, 0)
    assert "Traceback" not in server.log.read_text()


@pytest.mark.promise(5)
async def test_a_request_id_that_has_ended_holds_no_pin(sandbox):
    await sandbox.run("true", request_id="r", timeout_seconds=500)
    assert await running(sandbox) == 0


@pytest.mark.promise(6)
async def test_release_ends_a_stream_with_an_error_event(sandbox):
    async with sandbox.client.stream(
        "POST",
        "/v1/sandbox/execute",
        json={"sandbox_id": sandbox.id, "command": "echo up; sleep 60"},
        headers=EVENTS,
    ) as response:
        seen = []
        async for line in response.aiter_lines():
            seen.append(line)
            if "up" in line:
                await sandbox.call("release")
    assert "event: error" in seen
    assert '"sandbox_released"' in seen[-2]


async def test_the_last_bytes_of_a_stream_are_told_even_when_they_are_half_a_character(sandbox):
    response = await sandbox.client.post(
        "/v1/sandbox/execute",
        json={"sandbox_id": sandbox.id, "command": "printf 'a\\342\\202'"},
        headers=EVENTS,
    )
    assert 'data: {"text": "a"}' in response.text
    assert 'data: {"text": "\\\\xe2\\\\x82"}' in response.text


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("path=/workspace/f&encoding=base64", "encoding"),
        ("path=/workspace/f&content=", "content"),
        ("path=/workspace/%ff", "UTF-8"),
        ("path=/workspace/f&path=/workspace/g", "path"),
        ("path=/workspace/f&append=1", "append"),
        ("path=/workspace/f&mode=abc", "mode"),
        ("path=/workspace/f&nonsense=1", "nonsense"),
        ("path=", "path"),
    ],
)
async def test_a_wrong_query_is_refused_by_name(sandbox, query, named):
    response = await sandbox.client.post(
        f"/v1/sandbox/write_file?sandbox_id={sandbox.id}&{query}",
        content=b"x",
        headers={"content-type": "application/octet-stream"},
    )
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")
    assert named in response.json()["error"]["message"]
    assert (await sandbox.call("ls"))["entries"] == []


async def test_a_query_of_digits_stays_text(client):
    await call(client, "acquire", thread_id="12345")
    response = await client.post(
        "/v1/sandbox/write_file?thread_id=12345&path=/workspace/1&mode=0600",
        content=b"x",
        headers={"content-type": "application/octet-stream"},
    )
    assert response.status_code == 200, response.text
    await call(client, "release", thread_id="12345")


async def test_a_write_without_content_empties_no_file(sandbox):
    await sandbox.write("/workspace/f", "kept")
    message = await sandbox.refused(
        "write_file", status=400, code="invalid_request", path="/workspace/f"
    )
    assert "content" in message
    assert (await sandbox.read("/workspace/f"))["content"] == "kept"


async def test_a_part_of_a_text_is_never_empty_while_there_is_more(sandbox):
    await sandbox.write("/workspace/f", "€uro")
    part = await sandbox.read("/workspace/f", limit=1)
    assert part["truncated"] is True
    assert base64.b64decode(part["content"]) == "€".encode()[:1]


@pytest.mark.finding(4)
@pytest.mark.parametrize("way", ["json", "stream", "replace"])
async def test_a_caller_who_leaves_the_queue_of_a_file_writes_nothing(sandbox, way):
    async def change():
        name = {"sandbox_id": sandbox.id, "path": "/workspace/file"}
        if way == "replace":
            await sandbox.client.post(
                "/v1/sandbox/replace", json=name | {"old": "a", "new": "late"}
            )
        elif way == "json":
            await sandbox.client.post("/v1/sandbox/write_file", json=name | {"content": "late"})
        else:
            kind = {"content-type": "application/octet-stream"}
            await sandbox.client.post(
                "/v1/sandbox/write_file", params=name, content=b"late", headers=kind
            )

    # Its check goes on for ever, and holds the file's lock.
    await sandbox.run("truncate -s 60G file")
    check = {"content": "held", "if_sha256": "0" * 64}
    holder = asyncio.create_task(sandbox.write("/workspace/file", **check))
    await until_running(sandbox, 1)
    async with asyncio.timeout(60):
        while "oneseek" not in (await sandbox.run("ls -A"))["stdout"]:
            await asyncio.sleep(0.05)
    queued = asyncio.create_task(change())
    await until_running(sandbox, 2)
    queued.cancel()
    await until_running(sandbox, 1)
    holder.cancel()
    await until_running(sandbox, 0)
    await sandbox.write("/workspace/file", "early")
    assert (await sandbox.run("cat file; ls -A"))["stdout"] == "earlyfile\n"
