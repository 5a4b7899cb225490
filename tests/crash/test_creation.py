"""A creator is killed before or after each of its steps; the thread gets one sandbox all the same."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.local.runtime import LocalRuntime
from oneseek_sandbox.settings import Settings
from oneseek_sandbox.testing.verbs.calls import call

CHILD = Path(__file__).with_name("dying_creator.py")
MOMENTS = [
    (moment, step)
    for step in ("acquire", "create", "claim", "commit")
    for moment in ("before", "after")
]


@pytest.fixture
def server(new_server):
    return new_server(key="key-of-the-creation")


async def kill_a_creator(server, thread, moment, step):
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), str(server.home), thread, moment, step
    )
    assert await child.wait() == -signal.SIGKILL


@pytest.mark.promise(1, 2, 4)
async def test_whenever_a_creator_is_killed_the_next_acquire_gives_one_sandbox(server):
    threads = {f"{moment}-{step}": (moment, step) for moment, step in MOMENTS}
    await asyncio.gather(*(kill_a_creator(server, name, *at) for name, at in threads.items()))
    runtime = LocalRuntime(Settings.model_validate({"home": server.home}))
    await runtime.open()
    async with server.async_client() as client:

        async def take_over(name):
            # Several at once: the takeover too must have one winner.
            answers = await asyncio.gather(
                *(call(client, "acquire", thread_id=name) for _ in range(3))
            )
            assert len({answer["sandbox_id"] for answer in answers}) == 1, name
            sandbox_id = answers[0]["sandbox_id"]
            ran = await call(client, "execute", sandbox_id=sandbox_id, command="echo alive")
            assert ran["stdout"] == "alive\n", name
            assert len(await runtime.find(Thread("default", name))) == 1, name

        await asyncio.gather(*(take_over(name) for name in threads))
        for name in threads:
            await call(client, "release", thread_id=name)
        assert await runtime.list() == []
    await runtime.close()


@pytest.mark.promise(3, 7)
@pytest.mark.finding(1)
async def test_whenever_a_restart_is_killed_the_next_acquire_has_the_files(server, end_sandboxes):
    steps = ("adopt", "claim", "commit")
    threads = {f"{when}-{step}": (when, step) for step in steps for when in ("before", "after")}
    async with server.async_client() as client:
        made = {name: await call(client, "acquire", thread_id=name) for name in threads}
        for name in threads:
            await call(client, "write_file", thread_id=name, path="/workspace/kept", content=name)
        end_sandboxes(server)
        await asyncio.gather(*(kill_a_creator(server, name, *at) for name, at in threads.items()))

        async def take_over(name):
            again = await call(client, "acquire", thread_id=name)
            read = await call(client, "read_file", thread_id=name, path="/workspace/kept")
            assert (read["content"], again["reused"]) == (name, True), name
            assert again["sandbox_id"] == made[name]["sandbox_id"], name
            return again["restarted"]

        told = dict(zip(threads, await asyncio.gather(*map(take_over, threads)), strict=True))
        assert all(told.values()), told
