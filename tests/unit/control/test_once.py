"""A `request_id` is noted before its worker is asked, and erased only when nothing can have begun."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import aclosing

import pytest

from oneseek_sandbox.errors import (
    AnswerLostError,
    CommandNotStartedError,
    RequestIdConflictError,
    SandboxUnavailableError,
)
from oneseek_sandbox.models import ExecuteRequest
from oneseek_sandbox.testing.scripted_worker import exit_line, http_answer

pytestmark = pytest.mark.finding(2)


async def execute(world, request_id="step-1"):
    request = ExecuteRequest(thread_id="t", command="x", request_id=request_id)
    async with aclosing(world.provisioner.execute(request, world.caller)) as events:
        return [event async for event in events][-1]


def noted(world):
    (record,) = world.store._book.records.values()
    return list(record.requests)


def answering(code, status):
    async def answer(call):
        await call.answer({"error": {"code": code, "message": "said the worker"}}, status)

    return answer


async def breaking_off(call):
    await call.send(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
    call.writer.transport.abort()


async def test_it_is_noted_before_the_worker_has_the_request(world):
    await world.acquire()
    seen = []

    async def look(call):
        seen.extend(noted(world))
        await call.send(http_answer(exit_line()))

    world.worker().scripts["/execute"] = look
    assert (await execute(world)).exit_code == 0
    assert len(seen) == 1
    assert "step-1" not in seen[0]
    assert noted(world) == seen


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("command_not_started", 503),
        ("too_many_commands", 429),
        ("request_ids_exhausted", 409),
        ("file_not_found", 404),
        ("invalid_request", 400),
        ("unclaimed", 410),
    ],
)
async def test_what_the_worker_did_not_start_is_forgotten_and_holds_no_pin(world, code, status):
    await world.acquire()
    world.worker().scripts["/execute"] = answering(code, status)
    with pytest.raises(Exception, match=r"said the worker|refused this call"):
        await execute(world)
    assert noted(world) == []
    assert await world.pins() == 0


async def test_what_never_reached_the_worker_is_forgotten_and_holds_no_pin(world):
    await world.acquire()
    await world.worker().__aexit__()
    with pytest.raises(SandboxUnavailableError) as refused:
        await execute(world)
    assert refused.value.may_have_run is False
    assert noted(world) == []
    assert await world.pins() == 0


@pytest.mark.parametrize("broken", [breaking_off, answering("internal", 500)])
async def test_what_broke_off_may_have_run_and_is_remembered(world, broken):
    await world.acquire()
    world.worker().scripts["/execute"] = broken
    with pytest.raises(SandboxUnavailableError):
        await execute(world)
    assert len(noted(world)) == 1


async def test_what_its_caller_left_is_remembered(world):
    await world.acquire()
    asked = asyncio.Event()

    async def never(_):
        asked.set()
        await asyncio.sleep(3600)

    world.worker().scripts["/execute"] = never
    leaving = asyncio.create_task(execute(world))
    await asyncio.wait_for(asked.wait(), 10)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert len(noted(world)) == 1


async def test_a_caller_who_leaves_before_the_worker_is_asked_leaves_no_note(world):
    await world.acquire()
    pin, pinned = world.store.pin, asyncio.Event()

    async def slow_pin(*args, **fields):
        lease = await pin(*args, **fields)
        pinned.set()
        await asyncio.sleep(0.05)  # the way of the answer
        return lease

    world.store.pin = slow_pin
    leaving = asyncio.create_task(execute(world))
    await pinned.wait()
    assert len(noted(world)) == 1
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    async with asyncio.timeout(10):
        while noted(world):
            await asyncio.sleep(0.01)


async def test_a_conflict_does_not_erase_what_the_first_request_left(world):
    await world.acquire()
    await execute(world)
    world.worker().scripts["/execute"] = answering("request_id_conflict", 409)
    with pytest.raises(RequestIdConflictError):
        await execute(world)
    assert len(noted(world)) == 1


async def test_two_at_once_are_both_asked_of_the_worker_and_neither_erases_the_other(world):
    await world.acquire()
    both, answers = asyncio.Event(), [answering("command_not_started", 503), None]
    calls = []

    async def answer(call):
        calls.append(call)
        if len(calls) == 2:
            both.set()
        await both.wait()
        refuse = answers.pop(0)
        await (refuse(call) if refuse else call.send(http_answer(exit_line())))

    world.worker().scripts["/execute"] = answer
    outcomes = await asyncio.gather(execute(world), execute(world), return_exceptions=True)
    assert [type(o) for o in outcomes if isinstance(o, Exception)] == [CommandNotStartedError]
    assert len(noted(world)) == 1


async def test_a_repeat_after_a_restart_never_reaches_the_worker(world):
    await world.acquire()
    await execute(world)
    lease = await world.store.get(world.thread)
    creation = await world.store.restart(lease, attempt="restart")
    await world.store.commit(creation, dataclasses.replace(lease.placement, boot_id="b" * 32))
    with pytest.raises(AnswerLostError):
        await execute(world)
    assert world.worker().paths.count("/execute") == 1
