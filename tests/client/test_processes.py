"""A backend starts processes, leaves them, and finds them again: async and blocking."""

from __future__ import annotations

import asyncio
import base64

import pytest
from tests.client.conftest import KEY, sandboxes_of

from oneseek_sandbox import models
from oneseek_sandbox.client.blocking import BlockingSandboxes
from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.client.thread import ThreadSandbox
from oneseek_sandbox.errors import InputGapError, InvalidRequestError, ProcessNotFoundError

TALKER = "echo ready; while read line; do echo got $line; done; exit 3"


@pytest.fixture(params=["local-file", "provisioner"])
async def sandboxes(request, backend_environment):
    async with sandboxes_of(backend_environment(request.param)) as sandboxes:
        yield sandboxes


@pytest.fixture
async def thread(sandboxes):
    thread = ThreadSandbox(sandboxes, "processes")
    yield thread
    await thread.release()


async def test_a_process_is_read_and_spoken_to(thread):
    begun = await thread.start(TALKER, stdin_open=True, request_id="talker")
    assert begun.request_id == "talker"
    text = ""
    async for event in thread.attach("talker"):
        if isinstance(event, models.ProcessAnswer):
            assert (event.state, event.exit_code) == ("exited", 3)
            break
        text += event.text
        if text == "ready\n":
            taken = await thread.input("talker", "hi\n", offset=0)
            assert (await thread.input("talker", "hi\n", offset=0)).stdin_offset == 3
        elif text.endswith("got hi\n"):
            await thread.input("talker", "", offset=taken.stdin_offset, close=True)
    assert text == "ready\ngot hi\n"
    with pytest.raises(ProcessNotFoundError):
        await thread.output("nobody")


async def test_many_readers_read_the_same_and_leave_it_alone(thread):
    await thread.start("for n in 1 2 3; do echo $n; sleep 0.1; done; sleep 600", request_id="a")

    async def first_line():
        async for event in thread.attach("a"):
            return event.text
        raise AssertionError

    assert await asyncio.gather(*(first_line() for _ in range(3))) == ["1\n"] * 3
    (process,) = (await thread.processes(state="running")).processes
    assert process.request_id == "a"
    assert (await thread.signal("a", "KILL")).delivered >= 1
    *_, last = [event async for event in thread.attach("a", offset="end")]
    assert last.exit_code == 137


async def test_details_of_an_error_arrive(thread):
    await thread.start("sleep 600", stdin_open=True, request_id="a")
    with pytest.raises(InputGapError) as refused:
        await thread.input("a", "x", offset=7)
    assert refused.value.details["stdin_offset"] == 0


async def test_code_that_waits_does_the_same(backend_environment):
    environment = backend_environment("provisioner")

    def work():
        url = environment["SANDBOX_PROVISIONER_URL"]
        with BlockingSandboxes(RemoteSandboxes(url, KEY)) as sandboxes:
            thread = sandboxes.thread("blocking")
            thread.start("echo one; echo two; exit 4", request_id="a")
            *output, process = thread.attach("a")
            thread.release()
            return "".join(event.text for event in output), process.exit_code

    assert await asyncio.to_thread(work) == ("one\ntwo\n", 4)


async def test_a_terminal_is_typed_into_and_resized(thread):
    size = models.Terminal(columns=90, rows=20, term="vt100")
    await thread.start("read x; stty size; echo $TERM", terminal=size, request_id="terminal")
    bigger = models.WindowSize(columns=132, rows=50)
    await thread.input("terminal", "\r", offset=0, resize=bigger)
    shown = b""
    async for event in thread.attach("terminal", encoding="base64"):
        if isinstance(event, models.OutputEvent):
            shown += base64.b64decode(event.text)
        elif isinstance(event, models.ProcessAnswer):
            assert event.terminal == models.TerminalAnswer(columns=132, rows=50)
    assert shown == b"\r\n50 132\r\nvt100\r\n"
    with pytest.raises(InvalidRequestError, match="base64"):
        await thread.output("terminal")


async def test_code_that_blocks_has_terminals_too(server):
    with BlockingSandboxes(RemoteSandboxes(server.url, KEY)) as sandboxes:
        thread = sandboxes.thread("blocking-terminal")
        thread.start("read x; exit 5", terminal={"columns": 80, "rows": 24}, request_id="a")
        thread.input("a", "", offset=0, resize={"columns": 1, "rows": 1})
        assert thread.signal("a", "INT", to="foreground").delivered == 1
        *_, process = thread.attach("a", encoding="base64")
        assert process.exit_code == 130
        thread.release()
