"""Commands that go on beyond the call that started them, as a model meets them."""

from __future__ import annotations

import asyncio
import re

import pytest
from tests.agent_tools.conftest import SMALL

from oneseek_sandbox.agent_tools import SandboxTools
from oneseek_sandbox.client import BackendSettings, ThreadSandbox

UNTIL = "while ! test -e {}; do sleep 0.02; done"
LONG = BackendSettings(sandbox_max_output_bytes=2000, sandbox_timeout_seconds=60)


@pytest.fixture
def tools(sandbox):
    return SandboxTools(sandbox, LONG, yield_seconds=0.5)


async def begun(tools, command, prints=""):
    """Start a command that does not end by itself; returns what told of its output, and its id."""
    result = await tools.run("sandbox_execute", {"command": command})
    assert result.answer.still_running, result.text
    request_id = result.answer.request_id
    async with asyncio.timeout(60):
        while prints not in result.text:
            result = await wait(tools, request_id)
    assert f"request_id: {request_id}\n" in result.text
    return result, request_id


async def allow(tools, name):
    await tools.call("sandbox_write_file", {"path": f"/workspace/{name}", "content": ""})


async def wait(tools, request_id, **more):
    return await tools.run("sandbox_wait", {"request_id": request_id, **more})


async def end(tools, request_id):
    """Wait for the end in one call."""
    tools._commands._yield_seconds = 60
    return await wait(tools, request_id)


async def test_a_short_command_is_answered_as_ever(tools):
    result = await tools.run("sandbox_execute", {"command": "echo hi; exit 3"})
    assert result.text == "exit code: 3\nhi"
    assert result.answer.stdout == "hi\n"


async def test_a_long_command_goes_on_and_nothing_is_told_twice(tools):
    command = f"echo one; {UNTIL.format('go')}; echo two; {UNTIL.format('on')}; echo 3 >&2; exit 4"
    first, request_id = await begun(tools, command, "one")
    assert re.match(r"still running after \d+ s, request_id: \w{16}\none\n\[Call", first.text)
    await allow(tools, "go")
    said = ""
    async with asyncio.timeout(60):
        while "two" not in said:
            said = (await wait(tools, request_id)).text
    assert "one" not in said
    assert "(no new output)" in (await wait(tools, request_id, wait_seconds=0)).text
    await allow(tools, "on")
    last = await end(tools, request_id)
    assert last.text == ("exit code: 4\n--- stderr ---\n3\n[Output since the previous result.]")
    assert last.answer.exit_code == 4
    assert (last.answer.stdout, last.answer.stderr) == ("", "3\n")


async def test_after_its_end_all_is_told_again_to_whoever_asks(tools):
    _, request_id = await begun(tools, f"echo one; {UNTIL.format('go')}; echo two")
    await allow(tools, "go")
    await end(tools, request_id)
    for _ in range(2):
        assert (await wait(tools, request_id)).text == "exit code: 0\none\ntwo"


async def test_another_program_goes_on_where_this_one_was(tools, sandboxes, thread):
    _, request_id = await begun(tools, f"echo one; {UNTIL.format('go')}; echo two; exit 3", "one")
    await tools.close()
    later = SandboxTools(ThreadSandbox(sandboxes, thread), LONG, yield_seconds=0.2)
    assert "one" in (await wait(later, request_id)).text
    await allow(later, "go")
    last = await end(later, request_id)
    assert last.text.startswith("exit code: 3\ntwo\n[")
    assert last.answer.duration_ms > 0
    assert (await wait(later, request_id)).text == "exit code: 3\none\ntwo"


async def test_two_may_wait_at_once_and_get_the_same(tools):
    _, request_id = await begun(tools, f"echo one; {UNTIL.format('go')}; echo two", "one")
    waiting = [asyncio.create_task(end(tools, request_id)) for _ in range(2)]
    await allow(tools, "go")
    for result in await asyncio.gather(*waiting):
        assert result.text == "exit code: 0\ntwo\n[Output since the previous result.]"


async def test_it_can_be_stopped(tools):
    trap = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    _, request_id = await begun(tools, trap, "ready")
    result = await wait(tools, request_id, stop=True)
    assert result.text.startswith("exit code: ")
    assert "(killed: cancelled)\nbye\n" in result.text
    assert result.answer.killed_by == "cancelled"
    again = await wait(tools, request_id, stop=True)
    assert "(killed: cancelled)\nready\nbye" in again.text


async def test_another_program_can_stop_it(tools, sandboxes, thread):
    _, request_id = await begun(tools, "echo one; exec sleep 50", "one")
    later = SandboxTools(ThreadSandbox(sandboxes, thread), LONG, yield_seconds=5)
    assert "(killed: cancelled)" in (await wait(later, request_id, stop=True)).text


@pytest.mark.parametrize("by_another", [False, True])
async def test_what_it_has_left_running_is_stopped_too(tools, sandbox, by_another):
    _, request_id = await begun(tools, f"sleep 54.341 & {UNTIL.format('go')}")
    await allow(tools, "go")
    assert "still running in the background" in (await end(tools, request_id)).text
    if by_another:
        tools = SandboxTools(sandbox, LONG, yield_seconds=0.5)
    stopped = await wait(tools, request_id, stop=True)
    assert stopped.text == "exit code: 0\n(no output)"
    async with asyncio.timeout(60):
        while not (await sandbox.execute("pgrep -f 54.34[1]")).exit_code:
            await asyncio.sleep(0.05)


async def test_its_limit_ends_it(tools):
    given = {"command": "echo begun; exec sleep 50", "timeout_seconds": 4}
    result = await tools.run("sandbox_execute", given)
    last = await end(tools, result.answer.request_id)
    assert re.match(r"exit code: 124 \(timed out after 4\.\d s\)\n", last.text)
    assert last.answer.timed_out
    # As of an execute, with what the service has to say about it.
    assert "The command timed out" in last.answer.hint


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("request_id", ["0123456789abcdef", "*", "no such"])
async def test_an_unknown_id_is_told_and_nothing_is_stopped(tools, request_id, stop):
    _, running = await begun(tools, "exec sleep 50")
    result = await wait(tools, request_id, stop=stop)
    assert result.is_error
    assert result.text.startswith("Error (process_not_found)")
    assert "Copy the request_id exactly" in result.text
    assert (await wait(tools, running, wait_seconds=0)).answer.still_running


async def test_a_sandbox_that_was_released_took_its_commands_along(tools):
    _, request_id = await begun(tools, "echo one; exec sleep 50", "one")
    await tools.call("sandbox_release")
    async with asyncio.timeout(60):
        while not (told := await wait(tools, request_id)).is_error:
            pass
    assert told.text.startswith("Error (sandbox_released)")
    again = await wait(tools, request_id)
    assert again.text.startswith("Error (process_not_found)")


async def test_much_output_is_bounded_while_it_runs_and_at_the_end(tools):
    hundred = "x" * 100
    command = f"yes {hundred} | head -n 20000; {UNTIL.format('go')}; yes {hundred} | head -n 20000"
    first, request_id = await begun(tools, command)
    await allow(tools, "go")
    last = await end(tools, request_id)
    for result in (first, last):
        assert len(result.text) < SMALL.sandbox_max_output_bytes + 1000
    told = [result.answer.stdout_bytes + result.answer.left_out_bytes for result in (first, last)]
    assert sum(told) == 2 * 20000 * 101
    assert f"[{last.answer.left_out_bytes} bytes of output were left out" in last.text


async def test_what_was_left_out_while_it_runs_is_booked_to_neither_stream(tools):
    command = "seq 1 3000; seq 1 3000 >&2; echo end >&2; exec sleep 50"
    result, request_id = await begun(tools, f"{UNTIL.format('go')}; {command}")
    await allow(tools, "go")
    async with asyncio.timeout(60):
        while not result.answer.stderr.endswith("\nend\n"):
            # Whoever does not remember the command gets its output from the beginning.
            again = SandboxTools(tools.sandbox, LONG, yield_seconds=0.5)
            result = await wait(again, request_id, wait_seconds=0)
    answer = result.answer
    assert answer.still_running
    assert answer.stdout_truncated
    assert answer.stderr_truncated
    whole = 2 * len("".join(f"{n}\n" for n in range(1, 3001))) + len("end\n")
    assert answer.stdout_bytes + answer.stderr_bytes + answer.left_out_bytes == whole
    assert len(answer.stdout) + len(answer.stderr) <= LONG.sandbox_max_output_bytes
    assert result.text.count(f"{answer.left_out_bytes} bytes of output were left out") == 1
    assert len(re.findall(r"bytes .*left out", result.text)) == 1


async def test_a_character_is_not_told_in_halves(tools):
    command = rf"printf 'a\303'; {UNTIL.format('go')}; printf '\251\377'"
    first, request_id = await begun(tools, command, "\na\n")
    assert first.answer.stdout == "a"
    await allow(tools, "go")
    last = await end(tools, request_id)
    assert last.answer.stdout == "é\\xff"
    assert last.answer.invalid_utf8


async def test_a_call_that_is_cancelled_ends_its_command(sandbox):
    slow = SandboxTools(sandbox, LONG, yield_seconds=50)
    running = asyncio.create_task(slow.run("sandbox_execute", {"command": "exec sleep 54.322"}))
    async with asyncio.timeout(60):
        while (await sandbox.execute("pgrep -f 54.32[2]")).exit_code:
            await asyncio.sleep(0.05)
        running.cancel()
        while not (await sandbox.execute("pgrep -f 54.32[2]")).exit_code:
            await asyncio.sleep(0.05)
    await slow.close()


async def test_a_wait_that_is_cancelled_leaves_the_command_alone(sandbox):
    tools = SandboxTools(sandbox, LONG, yield_seconds=0.3)
    _, request_id = await begun(tools, f"echo one; {UNTIL.format('go')}; echo two", "one")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await wait(tools, request_id)
    await allow(tools, "go")
    last = await end(tools, request_id)
    assert last.text.startswith("exit code: 0\ntwo\n")


async def test_close_ends_what_was_not_answered_and_leaves_what_was(sandbox):
    tools = SandboxTools(sandbox, LONG, yield_seconds=0.3)
    await begun(tools, "echo one; exec sleep 54.331", "one")
    slow = SandboxTools(sandbox, LONG, yield_seconds=50)
    unanswered = asyncio.create_task(slow.run("sandbox_execute", {"command": "exec sleep 54.332"}))
    async with asyncio.timeout(60):
        while (await sandbox.execute("pgrep -f 54.33[2]")).exit_code:
            await asyncio.sleep(0.05)
        await slow.close()
        await tools.close()
        assert (await unanswered).answer.killed_by == "cancelled"
    assert (await sandbox.execute("pgrep -f 54.33[2]")).exit_code == 1
    assert (await sandbox.execute("pgrep -f 54.33[1]")).exit_code == 0


async def test_a_program_hears_the_last_line_while_it_waits(sandbox):
    tools = SandboxTools(sandbox, LONG)
    heard = []

    async def on_line(line):
        heard.append(line)
        if line == "\x1b[1mtwo\x1b[0m":
            await allow(tools, "go")

    command = rf"echo one; printf '\033[1mtwo\033[0m\n\n'; {UNTIL.format('go')}"
    async with asyncio.timeout(60):
        result = await tools.run("sandbox_execute", {"command": command}, on_line=on_line)
    assert result.answer.exit_code == 0
    assert heard[-1] == "\x1b[1mtwo\x1b[0m"
    count = len(heard)
    await asyncio.sleep(0)
    assert len(heard) == count
