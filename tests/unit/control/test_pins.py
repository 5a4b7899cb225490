"""A pin lasts as long as its operation, whoever goes away, and tells nobody of another's sandbox."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import aclosing

import anyio
import pytest

from oneseek_sandbox.auth import Caller
from oneseek_sandbox.errors import LeaseNotFoundError, SandboxError, SandboxUnavailableError
from oneseek_sandbox.models import (
    ExecuteAnswer,
    ExecuteRequest,
    LsRequest,
    ReadFileRequest,
    ReleaseRequest,
)
from oneseek_sandbox.testing.scripted_worker import exit_line, http_answer
from oneseek_sandbox.workers.client import WorkerClient


def execute(world, **fields):
    request = ExecuteRequest(**({"thread_id": "t", "command": "x"} | fields))
    return world.provisioner.execute(request, world.caller, stream=True)


async def never(call):
    await call.send(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
    await asyncio.sleep(3600)


async def until(condition):
    async with asyncio.timeout(5):
        while not await condition():
            await asyncio.sleep(0.01)


@pytest.mark.promise(5)
@pytest.mark.parametrize("request_id", [None, "r"])
async def test_an_ended_command_holds_no_pin(world, request_id):
    await world.acquire()
    async with aclosing(execute(world, request_id=request_id)) as events:
        async for item in events:
            if isinstance(item, ExecuteAnswer):
                break  # as whoever wants the answer only
    assert await world.pins() == 0


@pytest.mark.promise(5)
async def test_a_command_with_a_request_id_is_held_when_its_caller_goes(world):
    await world.acquire()
    world.worker().scripts["/execute"] = never
    async with aclosing(execute(world, request_id="r")) as events:
        waiting = asyncio.ensure_future(anext(events))
        await until(lambda: _was_asked(world))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert await world.pins() == 1


@pytest.mark.promise(5)
async def test_a_scope_that_is_cancelled_again_and_again_lets_its_pin_go(world):
    """Streams run in scopes that cancel every await, also those that clean up."""
    await world.acquire()
    world.worker().scripts["/execute"] = never
    unpin = world.store.unpin

    async def slow_unpin(*args, **fields):
        await asyncio.sleep(0.05)
        await unpin(*args, **fields)

    world.store.unpin = slow_unpin

    async def listen():
        async with aclosing(execute(world)) as events:
            async for _ in events:
                pass

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        await until(lambda: _is(world, pins=1))
        tasks.cancel_scope.cancel()
    await until(lambda: _is(world, pins=0))
    await asyncio.wait_for(world.worker().dropped.wait(), 5)


@pytest.mark.promise(5)
async def test_a_caller_who_goes_while_the_pin_is_made_leaves_none(world):
    await world.acquire()
    pin, pinned = world.store.pin, asyncio.Event()

    async def slow_pin(*args, **fields):
        lease = await pin(*args, **fields)
        pinned.set()
        await asyncio.sleep(0.05)  # the way of the answer
        return lease

    world.store.pin = slow_pin
    leaving = asyncio.create_task(world.provisioner.ls(LsRequest(thread_id="t"), world.caller))
    await pinned.wait()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await until(lambda: _is(world, pins=0))


async def _was_asked(world):
    return "/execute" in world.worker().paths


async def _is(world, *, pins):
    return await world.pins() == pins


async def test_the_unknown_and_the_foreign_sandbox_are_told_in_the_same_words(world):
    mine = Caller("mine", frozenset({"mine"}))
    foreign = (await world.acquire()).sandbox_id
    texts = set()
    for sandbox_id in (foreign, secrets.token_hex(16)):
        for verb, request in (("ls", LsRequest), ("release", ReleaseRequest)):
            with pytest.raises(LeaseNotFoundError) as refused:
                await getattr(world.provisioner, verb)(request(sandbox_id=sandbox_id), mine)
            texts.add(str(refused.value).replace(sandbox_id, "ID"))
    assert len(texts) == 1


@pytest.mark.promise(6)
@pytest.mark.parametrize("end", ["released", "lost"])
async def test_a_bound_key_is_told_how_its_own_sandbox_ended_and_nobody_else_is(world, end):
    own, other = (Caller(name, frozenset({name})) for name in ("default", "other"))
    sandbox_id = (await world.acquire()).sandbox_id
    lease = await world.store.get(world.thread)
    if end == "released":
        await world.store.release(world.thread, sandbox_id=None)
    else:
        await world.store.lose(lease)
    for caller, code in ((own, f"sandbox_{end}"), (other, "lease_not_found")):
        with pytest.raises(SandboxError) as refused:
            await world.provisioner.ls(LsRequest(sandbox_id=sandbox_id), caller)
        assert refused.value.code == code
    with pytest.raises(LeaseNotFoundError):
        await world.provisioner.release(ReleaseRequest(sandbox_id=sandbox_id), other)
    if end == "released":
        again = await world.provisioner.release(ReleaseRequest(sandbox_id=sandbox_id), own)
        assert again.already_released


async def test_a_worker_cannot_fill_the_memory_with_a_file(world):
    await world.acquire()

    async def endless(call):
        meta = '{"size": 5, "sha256": "%s", "total_lines": 1, "truncated": false}' % ("0" * 64)
        head = f"HTTP/1.1 200 X\r\nx-meta: {meta}\r\ntransfer-encoding: chunked\r\n\r\n"
        await call.send(head.encode())
        while True:
            await call.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    world.worker().scripts["/read"] = endless
    request = ReadFileRequest(thread_id="t", path="/workspace/f")
    async with asyncio.timeout(10):
        with pytest.raises(SandboxUnavailableError):
            await world.provisioner.read_file(request, world.caller)


async def test_a_worker_cannot_print_for_ever(world):
    await world.acquire()

    async def endless(call):
        await call.send(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
        line = b'{"stdout": "%s"}\n' % (b"eHh4" * 10_000)
        while True:
            await call.send(b"%x\r\n%s\r\n" % (len(line), line))

    world.worker().scripts["/execute"] = endless
    async with asyncio.timeout(10):
        with pytest.raises(SandboxUnavailableError):
            async with aclosing(execute(world)) as events:
                async for _ in events:
                    pass


@pytest.mark.parametrize(
    "proof",
    [
        http_answer(b'{"protocol": 1, "boot_id": "BOOT", "proof": "\\ud800"}'),
        b"HTTP/1.1 200 X\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n",
        http_answer(b"[" * 4000),
        http_answer(b"9" * 5000),
    ],
)
async def test_a_proof_that_is_none_is_an_answer_of_ours(world, proof):
    await world.acquire()
    boot_id = (await world.store.get(world.thread)).placement.boot_id
    await world.workers.close()

    async def prove(call):
        await call.send(proof.replace(b"BOOT", boot_id.encode()))

    world.worker().scripts["/proof"] = prove
    world.worker().boot_id = "another"
    world.provisioner._workers = WorkerClient()
    with pytest.raises(SandboxError):
        await world.provisioner.ls(LsRequest(thread_id="t"), world.caller)
    await world.provisioner._workers.close()


async def test_the_connection_of_an_ended_command_is_used_again(world):
    await world.acquire()
    worker = world.worker()
    for _ in range(3):
        async with aclosing(execute(world)) as events:
            assert [event async for event in events][-1].exit_code == 0
    assert worker.paths.count("/proof") == 2  # of the claim, and of the first command


async def test_an_answer_whose_end_is_late_is_not_waited_for(world):
    await world.acquire()

    async def unfinished(call):
        line = exit_line()
        await call.send(
            b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(line), line)
        )
        await asyncio.sleep(3600)

    world.worker().scripts["/execute"] = unfinished
    async with asyncio.timeout(5), aclosing(execute(world)) as events:
        assert [event async for event in events][-1].exit_code == 0


async def test_an_ls_without_a_path_lists_the_workspace_of_this_server(new_world):
    world = new_world(workspace_dir="/home/agent")
    await world.acquire()
    asked = []

    async def ls(call):
        asked.append(call.body["path"])
        await call.answer({"entries": [], "truncated": False, "cursor": None})

    world.worker().scripts["/ls"] = ls
    await world.provisioner.ls(LsRequest(thread_id="t"), world.caller)
    assert asked == ["/home/agent"]
