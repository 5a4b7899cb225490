"""Commands that go on, where the sandbox is not there yet, too old, or has no room for another id."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from oneseek_sandbox import errors
from oneseek_sandbox.agent_tools import SandboxTools
from oneseek_sandbox.models import ExecuteAnswer

ENDED = ExecuteAnswer(
    exit_code=0, stdout="done\n", stderr="", timed_out=False, killed_by=None, stdout_truncated=False,
    stderr_truncated=False, stdout_bytes=5, stderr_bytes=0, invalid_utf8=False, duration_ms=1,
    background=False,
)  # fmt: skip


class Sandbox:
    """A thread's sandbox whose command ends when it is allowed to, and cannot be looked at."""

    def __init__(self, refusal=None, *, is_there=True):
        self.acquired = SimpleNamespace(sandbox_id="0" * 32) if is_there else None
        self.sandboxes = self
        self.refusal = refusal
        self.asked = []
        self.cancelled = []
        self.may_end = asyncio.Event()
        self.error = None

    async def execute(self, command, **options):
        self.asked.append(options["request_id"])
        await self.may_end.wait()
        if self.error is not None and options["request_id"] is not None:
            raise self.error
        return ENDED

    async def output(self, request_id, **_):
        raise self.refusal

    async def cancel(self, request_id, **_):
        self.cancelled.append(request_id)
        if len(self.cancelled) < 3:
            raise errors.CommandNotFoundError("not yet")
        self.may_end.set()
        return True


NOT_TO_BE_READ = [
    errors.SandboxTooOldError("too old"),
    errors.ProcessNotFoundError("not started yet"),
    errors.UnknownVerbError("an old server"),
    errors.SandboxUnavailableError("silent"),
    TimeoutError(),
]


@pytest.mark.parametrize("refusal", [None, *NOT_TO_BE_READ])
async def test_output_that_cannot_be_read_comes_with_the_end(refusal):
    # None: its sandbox is still being made.
    sandbox = Sandbox(refusal, is_there=refusal is not None)
    tools = SandboxTools(sandbox, yield_seconds=0.01)
    first = await tools.run("sandbox_execute", {"command": "make"})
    assert first.answer.still_running
    assert not first.answer.output_is_known
    assert "Its output cannot be read yet. Call sandbox_wait" in first.text
    named = {"request_id": first.answer.request_id}
    assert (await tools.run("sandbox_wait", named)).answer.still_running
    sandbox.may_end.set()
    last = await tools.run("sandbox_wait", named)
    assert last.text == "exit code: 0\ndone"
    assert sandbox.asked == [first.answer.request_id]


async def test_where_there_is_no_room_for_an_id_a_command_runs_without():
    sandbox = Sandbox()
    sandbox.error = errors.RequestIdsExhaustedError("the last one", may_have_run=False)
    sandbox.may_end.set()
    tools = SandboxTools(sandbox, yield_seconds=5)
    assert await tools.call("sandbox_execute", {"command": "make"}) == "exit code: 0\ndone"
    assert sandbox.asked[1:] == [None]


async def test_commands_that_do_not_yield_have_no_id():
    sandbox = Sandbox()
    sandbox.may_end.set()
    for tools in (
        SandboxTools(sandbox),
        SandboxTools(sandbox, yield_seconds=5, tools=["sandbox_execute"]),
    ):
        assert await tools.call("sandbox_execute", {"command": "make"}) == "exit code: 0\ndone"
    assert sandbox.asked == [None, None]


async def test_a_command_that_is_given_up_while_it_starts_is_ended_all_the_same():
    sandbox = Sandbox()
    tools = SandboxTools(sandbox, yield_seconds=5)
    running = asyncio.create_task(tools.run("sandbox_execute", {"command": "make"}))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await tools.close()
    assert sandbox.cancelled == sandbox.asked * 3


async def test_an_error_is_told_to_whoever_asks_and_the_sandbox_is_asked_then():
    sandbox = Sandbox(errors.ProcessLostError("restarted", may_have_run=True))
    tools = SandboxTools(sandbox, yield_seconds=0.01)
    first = await tools.run("sandbox_execute", {"command": "make"})
    sandbox.error = errors.SandboxUnavailableError("gone silent", may_have_run=True)
    sandbox.may_end.set()
    named = {"request_id": first.answer.request_id}
    told = [await tools.run("sandbox_wait", named) for _ in range(3)]
    codes = [result.error.code for result in told]
    assert codes == ["sandbox_unavailable", "process_lost", "process_lost"]
    assert "Look with sandbox_ls" in told[-1].text
