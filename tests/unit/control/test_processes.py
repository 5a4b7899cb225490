"""Processes in the background: what holds their sandbox, who may read, and what is lost with it."""

from __future__ import annotations

import asyncio
import base64
from contextlib import AsyncExitStack

import pytest

from oneseek_sandbox import models
from oneseek_sandbox.control.processes import Processes
from oneseek_sandbox.errors import (
    LeaseNotFoundError,
    ProcessLostError,
    ProcessNotFoundError,
    SandboxTooOldError,
    SandboxUnavailableError,
    TooManyStreamsError,
)

PROCESS = {
    "request_id": "a",
    "command": "sleep",
    "state": "running",
    "pid": 7,
    "started_ms": 1_700_000_000_000,
    "ended_ms": None,
    "exit_code": None,
    "killed_by": None,
    "deadline_ms": None,
    "leftover": False,
    "stdin_open": True,
    "stdin_offset": 0,
    "log": {"first_offset": 0, "next_offset": 0},
}


def answering(answer):
    async def answer_with(call):
        await call.answer(answer(call.body) if callable(answer) else answer)

    return answer_with


@pytest.fixture
async def ready(world):
    """The world with a sandbox whose worker knows processes."""
    await world.acquire(idle_timeout_seconds=1)
    worker = world.worker()
    worker.features = ["processes"]
    worker.boot_id = "f" * 32
    await world.workers.close()
    await world.store.suspect(await world.store.get(world.thread))
    await world.acquire(idle_timeout_seconds=1)
    worker.scripts["/execute"] = answering({"pid": 7, "started_ms": 1_700_000_000_000})
    worker.scripts["/processes"] = answering({"processes": [PROCESS], "cursor": None})
    worker.scripts["/signal"] = answering({"delivered": 1, "state": "running"})
    worker.scripts["/input"] = answering(
        lambda body: {
            "stdin_offset": body["offset"] + len(base64.b64decode(body["data"])),
            "pending": 0,
        }
    )
    worker.scripts["/attach"] = answering({"events": [], "next_offset": 0, "process": PROCESS})
    return world


def start(world, **fields):
    request = models.ExecuteRequest(
        thread_id="t", command="sleep 600", background=True, request_id="a", **fields
    )
    return world.provisioner.processes.start(request, world.caller)


def attach_request(**fields):
    return models.AttachRequest(thread_id="t", request_id="a", **fields)


def give(world, data, offset):
    request = models.InputRequest(thread_id="t", request_id="a", data=data, offset=offset)
    return world.provisioner.processes.input(request, world.caller)


async def idle(world):
    """Let the sandbox be idle for longer than it may."""
    lease = await world.store.get(world.thread)
    await asyncio.sleep(max(0, lease.expires_ms - world.store._clock.now_ms() + 20) / 1000)


@pytest.mark.parametrize(("lasting", "expired"), [(1, 0), (0, 1), (None, 0)])
async def test_a_process_with_a_limit_keeps_its_sandbox_until_its_worker_says_that_it_ended(
    ready, lasting, expired
):
    await start(ready, timeout_seconds=600.0)
    health = {"commands": 0, "processes": 0, "lasting": lasting}
    ready.worker().scripts["/health"] = answering(health)
    await idle(ready)
    done = await ready.cleanup().run()
    assert (done.expired, len(ready.runtime.objects)) == (expired, 1 - expired)


async def test_a_process_without_a_limit_keeps_nothing(ready):
    await start(ready)
    await idle(ready)
    assert (await ready.cleanup().run()).expired == 1
    with pytest.raises(LeaseNotFoundError):
        await start(ready)


async def test_a_worker_that_does_not_answer_keeps_its_sandbox_for_the_time_of_the_limit(ready):
    await start(ready, timeout_seconds=600.0)

    async def silent(call):
        call.writer.close()

    ready.worker().scripts["/health"] = silent
    await idle(ready)
    assert (await ready.cleanup().run()).expired == 0


async def test_an_old_worker_is_asked_nothing(world):
    await world.acquire()
    paths = world.worker().paths
    asked = len(paths)
    for call, name in (
        (start(world), "background"),
        (give(world, "x", 0), "input"),
        (world.provisioner.processes.attach(attach_request(), world.caller), "attach"),
    ):
        with pytest.raises(SandboxTooOldError, match=repr(name)):
            await call
    assert "/execute" not in paths[asked:]
    # It was not started, so another sandbox may start it.
    assert (await world.store.get(world.thread)).pins == 0


async def restart(world):
    """Have the sandbox started again, as after its memory ran out."""
    worker = world.worker()
    worker.boot_id = "e" * 32
    await world.workers.close()
    await world.store.suspect(await world.store.get(world.thread))
    assert (await world.acquire()).restarted is True


async def test_after_a_restart_a_process_is_lost(ready):
    await start(ready)
    await restart(ready)
    processes = ready.provisioner.processes
    signal = models.SignalRequest(thread_id="t", request_id="a", signal="TERM")
    for call in (
        processes.attach(attach_request(), ready.caller),
        processes.signal(signal, ready.caller),
        give(ready, "x", 0),
    ):
        with pytest.raises(ProcessLostError) as lost:
            await call
        assert lost.value.may_have_run is True
    wanted = models.ProcessesRequest(thread_id="t", request_id="a")
    (found,) = (await processes.processes(wanted, ready.caller)).processes
    assert (found.state, found.exit_code, found.log) == ("lost", None, None)


async def test_input_asks_the_store_once_in_five_seconds(ready, monkeypatch):
    await start(ready)
    pins = []
    pin = ready.store.pin

    async def counted(*args, **fields):
        pins.append(fields["pin_id"])
        return await pin(*args, **fields)

    monkeypatch.setattr(ready.store, "pin", counted)
    offset = 0
    for _ in range(20):
        offset = (await give(ready, "key", offset)).stdin_offset
    assert (offset, len(pins)) == (60, 1)


async def test_input_to_a_sandbox_that_changed_since_is_looked_up_again(ready):
    await start(ready)
    await give(ready, "key", 0)
    await restart(ready)
    with pytest.raises(ProcessLostError):
        await give(ready, "key", 3)


async def test_readers_of_a_key_and_of_a_function_are_bounded(ready, monkeypatch):
    monkeypatch.setattr("oneseek_sandbox.control.attaching.MAX_OF_A_KEY", 3)
    one, other = ready.caller, type(ready.caller)("other")
    waiting = attach_request(wait_seconds=0.05)
    whole = ready.provisioner.processes
    monkeypatch.setattr("oneseek_sandbox.control.processes.MAX_OF_A_FUNCTION", 4)
    function = Processes(ready.settings, ready.provisioner._pins, ready.workers, is_function=True)
    for processes, allowed in ((whole, [one] * 3 + [other]), (function, [one] * 3 + [other])):
        async with AsyncExitStack() as attached:
            for caller in allowed:
                await attached.enter_async_context(processes.attached(waiting, caller))
            with pytest.raises(TooManyStreamsError):
                await processes.attach(waiting, one)
            if processes is function:
                with pytest.raises(TooManyStreamsError):
                    await processes.attach(waiting, other)
            await processes.attach(attach_request(), one)
        await processes.attach(waiting, one)


async def test_half_a_character_is_waited_for_and_given_at_the_end(ready):
    halves = [b"a\xc3", b"\xc3", b"\xc3\xbc"]

    def answer(body):
        data = halves.pop(0)
        event = {"stdout": base64.b64encode(data).decode()}
        after = body["offset"] + len(data)
        return {"events": [event], "next_offset": after, "process": PROCESS}

    ready.worker().scripts["/attach"] = answering(answer)
    processes = ready.provisioner.processes
    first = await processes.attach(attach_request(wait_seconds=30.0), ready.caller)
    assert ([event.text for event in first.events], first.next_offset) == (["a"], 1)
    second = attach_request(offset=1, wait_seconds=30.0)
    answered = await processes.attach(second, ready.caller)
    assert ([event.text for event in answered.events], answered.next_offset) == (["ü"], 3)


@pytest.mark.parametrize(
    "answer",
    [
        {"events": [], "next_offset": 0},
        {"events": [{"stdout": 5}], "next_offset": 0, "process": PROCESS},
        {"events": [], "next_offset": -1, "process": PROCESS},
        {"events": [], "next_offset": 0, "process": PROCESS | {"command": "x" * 1000}},
        {"events": [], "next_offset": 0, "process": PROCESS | {"state": "gone"}},
    ],
)
async def test_an_answer_that_is_none_is_refused(ready, answer):
    ready.worker().scripts["/attach"] = answering(answer)
    with pytest.raises(SandboxUnavailableError):
        await ready.provisioner.processes.attach(attach_request(), ready.caller)


async def test_an_unknown_process_names_the_sandbox_that_was_asked(ready):
    async def unknown(call):
        await call.answer({"error": {"code": "process_not_found", "message": "none"}}, 404)

    ready.worker().scripts["/attach"] = unknown
    with pytest.raises(ProcessNotFoundError) as refused:
        await ready.provisioner.processes.attach(attach_request(), ready.caller)
    lease = await ready.store.get(ready.thread)
    assert refused.value.details == {"generation": lease.generation}
