"""Acquire, release, cleanup_idle: a thread has one sandbox, reused while it is used."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from oneseek_sandbox.testing.verbs.calls import Sandbox, VerbsFixtures, call, refused

if TYPE_CHECKING:
    import httpx

__all__ = ["LifecycleContract"]


class LifecycleContract(VerbsFixtures):
    """What a sandbox's life promises."""

    async def test_the_first_acquire_makes_a_sandbox(self, sandbox: Sandbox) -> None:
        answer = sandbox.acquired
        assert answer["reused"] is False
        assert answer["restarted"] is False
        assert answer["scope"] == "default"
        assert answer["workspace"].startswith("/")
        assert len(answer["sandbox_id"]) == 32

    @pytest.mark.essential
    async def test_the_second_acquire_reuses_it_with_its_files(self, sandbox: Sandbox) -> None:
        await sandbox.write("/workspace/kept", "here")
        again = await call(sandbox.client, "acquire", thread_id=sandbox.thread)
        assert again["reused"] is True
        assert again["sandbox_id"] == sandbox.id
        assert again["generation"] == sandbox.acquired["generation"]
        assert (await sandbox.read("/workspace/kept"))["content"] == "here"

    @pytest.mark.promise(1)
    async def test_64_acquires_at_once_give_one_sandbox_and_one_is_new(
        self, client: httpx.AsyncClient, thread: str
    ) -> None:
        answers = await asyncio.gather(
            *(call(client, "acquire", thread_id=thread) for _ in range(64))
        )
        assert len({answer["sandbox_id"] for answer in answers}) == 1
        assert [answer["reused"] for answer in answers].count(False) == 1
        await call(client, "release", thread_id=thread)

    @pytest.mark.essential
    async def test_threads_do_not_share_a_sandbox(
        self, sandbox: Sandbox, client: httpx.AsyncClient
    ) -> None:
        other = Sandbox(client, await call(client, "acquire", thread_id=sandbox.thread + "-other"))
        await sandbox.write("/workspace/mine", "secret")
        listed = await other.call("ls")
        assert listed["entries"] == []
        assert (await other.run("cat /workspace/mine"))["exit_code"] != 0
        await other.call("release")

    async def test_the_same_thread_of_another_scope_is_another_thread(
        self, sandbox: Sandbox
    ) -> None:
        other = await call(
            sandbox.client, "acquire", thread_id=sandbox.thread, scope="another-tenant"
        )
        assert other["sandbox_id"] != sandbox.id
        assert other["scope"] == "another-tenant"
        await call(sandbox.client, "release", sandbox_id=other["sandbox_id"])

    @pytest.mark.essential
    @pytest.mark.promise(6)
    async def test_a_released_sandbox_answers_410_and_the_thread_404(
        self, sandbox: Sandbox
    ) -> None:
        assert await sandbox.call("release") == {"released": True, "already_released": False}
        message = await sandbox.refused(
            "execute", status=410, code="sandbox_released", command="true"
        )
        assert "acquire" in message.lower()
        await refused(
            sandbox.client,
            "execute",
            status=404,
            code="lease_not_found",
            thread_id=sandbox.thread,
            command="true",
        )

    @pytest.mark.promise(6)
    async def test_a_second_release_is_told_so(self, sandbox: Sandbox) -> None:
        await sandbox.call("release")
        again = {"released": False, "already_released": True}
        assert await sandbox.call("release") == again
        assert await call(sandbox.client, "release", thread_id=sandbox.thread) == again

    @pytest.mark.essential
    @pytest.mark.promise(3)
    async def test_after_a_release_the_next_acquire_is_new_and_empty(
        self, sandbox: Sandbox
    ) -> None:
        await sandbox.write("/workspace/old", "old")
        await sandbox.call("release")
        new = Sandbox(
            sandbox.client, await call(sandbox.client, "acquire", thread_id=sandbox.thread)
        )
        assert new.acquired["reused"] is False
        assert new.id != sandbox.id
        assert new.acquired["generation"] > sandbox.acquired["generation"]
        assert (await new.call("ls"))["entries"] == []

    async def test_an_acquire_may_set_the_idle_timeout_and_change_it(
        self, client: httpx.AsyncClient, thread: str
    ) -> None:
        for seconds in (50, 5000):
            answer = await call(client, "acquire", thread_id=thread, idle_timeout_seconds=seconds)
            used = datetime.fromisoformat(answer["last_used_at"])
            ends = datetime.fromisoformat(answer["expires_at"])
            assert (ends - used).total_seconds() == pytest.approx(seconds, abs=1)
        await call(client, "release", thread_id=thread)

    @pytest.mark.promise(5)
    async def test_an_expired_sandbox_is_not_handed_out_again(
        self, client: httpx.AsyncClient, thread: str
    ) -> None:
        old = Sandbox(
            client, await call(client, "acquire", thread_id=thread, idle_timeout_seconds=1)
        )
        await old.write("/workspace/old", "old")
        async with asyncio.timeout(10):
            while (await _probe(old)) == 200:
                await asyncio.sleep(1.2)
        new = await call(client, "acquire", thread_id=thread)
        assert new["reused"] is False
        assert new["sandbox_id"] != old.id
        await old.refused("ls", status=410, code="sandbox_expired")
        await call(client, "release", thread_id=thread)

    @pytest.mark.promise(5)
    async def test_cleanup_spares_a_busy_sandbox_and_ends_an_idle_one(
        self, client: httpx.AsyncClient, thread: str
    ) -> None:
        busy = Sandbox(
            client, await call(client, "acquire", thread_id=thread, idle_timeout_seconds=1)
        )
        waiting = "until [ -e go ]; do sleep 0.1; done; echo done"
        running = asyncio.create_task(busy.run(waiting))
        idle = Sandbox(
            client, await call(client, "acquire", thread_id=thread + "i", idle_timeout_seconds=1)
        )
        async with asyncio.timeout(10):
            while (await call(client, "cleanup_idle"))["expired"] == 0 and await _is_live(idle):
                await asyncio.sleep(0.2)
        assert not running.done()
        await busy.call("write_file", path="/workspace/go", content="")
        assert (await running)["stdout"] == "done\n"
        await idle.refused("execute", status=410, code="sandbox_expired", command="true")
        await call(client, "release", thread_id=thread)

    async def test_the_list_names_live_sandboxes(
        self, sandbox: Sandbox, client: httpx.AsyncClient
    ) -> None:
        listed = (await client.get("/v1/sandbox")).json()["sandboxes"]
        mine = [entry for entry in listed if entry["sandbox_id"] == sandbox.id]
        assert [entry["thread_id"] for entry in mine] == [sandbox.thread]
        assert mine[0]["state"] == "ready"

    async def test_cleanup_takes_a_plain_post_without_a_body(
        self, client: httpx.AsyncClient
    ) -> None:
        response = await client.post("/v1/sandbox/cleanup_idle")
        assert response.status_code == 200, response.text
        assert set(response.json()) == {"expired", "adopted", "lost", "orphans"}

    async def test_cleanup_takes_cloud_events_in_both_modes(
        self, client: httpx.AsyncClient
    ) -> None:
        attributes = {"specversion": "1.0", "id": "1", "source": "/tests", "type": "dev.cleanup"}
        binary = await client.post(
            "/v1/sandbox/cleanup_idle",
            headers={f"ce-{name}": value for name, value in attributes.items()},
        )
        structured = await client.post(
            "/v1/sandbox/cleanup_idle",
            headers={"content-type": "application/cloudevents+json"},
            json=attributes,
        )
        for response in (binary, structured):
            assert (response.status_code, response.content) == (204, b"")

    async def test_a_broken_cloud_event_is_refused(self, client: httpx.AsyncClient) -> None:
        response = await client.post("/v1/sandbox/cleanup_idle", headers={"ce-id": "1"})
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "invalid_request"


async def _probe(sandbox: Sandbox) -> int:
    listed = (await sandbox.client.get("/v1/sandbox")).json()["sandboxes"]
    live = {entry["sandbox_id"]: entry["expires_at"] for entry in listed}
    if sandbox.id not in live:
        return 410
    over = datetime.fromisoformat(live[sandbox.id]) < datetime.now().astimezone()
    return 410 if over else 200


async def _is_live(sandbox: Sandbox) -> bool:
    listed = (await sandbox.client.get("/v1/sandbox")).json()["sandboxes"]
    return sandbox.id in {entry["sandbox_id"] for entry in listed}
