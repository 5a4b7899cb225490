"""Terminals of processes: started, typed into, resized, interrupted."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from oneseek_sandbox.testing.verbs.calls import Sandbox, VerbsFixtures

__all__ = ["TerminalsContract"]

_SIZE = {"columns": 90, "rows": 20}


async def _start(
    sandbox: Sandbox, command: str | list[str], request_id: str, **fields: object
) -> dict[str, Any]:
    wanted = {"command": command, "terminal": _SIZE, "request_id": request_id}
    return await sandbox.call("execute", **wanted, **fields)


async def _shown(sandbox: Sandbox, request_id: str, until: bytes = b"") -> tuple[bytes, Any]:
    """Return what a terminal has shown, to a text in it or the end, and the process then."""
    shown = b""
    while True:
        answer = await sandbox.call(
            "attach",
            request_id=request_id,
            offset=len(shown),
            wait_seconds=30,
            encoding="base64",
        )
        assert {event["type"] for event in answer["events"]} <= {"stdout"}
        shown += b"".join(base64.b64decode(event["text"]) for event in answer["events"])
        process = answer["process"]
        over = process["state"] != "running" and len(shown) == process["log"]["next_offset"]
        if over or (until and until in shown):
            return shown, process


class TerminalsContract(VerbsFixtures):
    """What terminals promise."""

    @pytest.mark.new
    @pytest.mark.essential
    async def test_a_terminal_is_typed_into_resized_and_interrupted(self, sandbox: Sandbox) -> None:
        command = "stty size; echo $TERM; read line; stty size; exec sleep 600"
        begun = await _start(sandbox, command, "a")
        assert (begun["request_id"], begun["log_offset"]) == ("a", 0)
        _, process = await _shown(sandbox, "a", b"20 90\r\nxterm-256color\r\n")
        assert (process["terminal"], process["stdin_open"]) == (_SIZE, True)
        bigger = {"columns": 132, "rows": 50}
        resized = await sandbox.call("input", request_id="a", offset=0, resize=bigger)
        assert resized == {"stdin_offset": 0, "pending": 0}
        for _ in range(2):  # sent twice, typed once
            typed = await sandbox.call("input", request_id="a", data="#\r", offset=0)
            assert typed["stdin_offset"] == 2
        await _shown(sandbox, "a", b"50 132\r\n")
        await sandbox.call("input", request_id="a", data="\x03", offset=2)
        shown, process = await _shown(sandbox, "a")
        assert shown.count(b"#") == 1
        assert (process["exit_code"], process["terminal"]) == (130, bigger)
        (listed,) = (await sandbox.call("processes"))["processes"]
        assert listed == process

    @pytest.mark.new
    async def test_the_foreground_is_signalled_alone(self, sandbox: Sandbox) -> None:
        job = "(echo up; exec sleep 600)"
        shell = ["sh", "-c", f"set -m; {job}; echo status $?; exit 3"]
        await _start(sandbox, shell, "a", timeout_seconds=60)
        wanted = {"request_id": "a", "signal": "KILL", "to": "foreground"}
        await _shown(sandbox, "a", b"up")
        assert (await sandbox.call("signal", **wanted))["delivered"] == 1
        shown, process = await _shown(sandbox, "a")
        assert b"status 137" in shown
        assert process["exit_code"] == 3
        await sandbox.refused("signal", status=409, code="process_ended", **wanted)

    @pytest.mark.new
    async def test_what_terminals_do_not_do_is_refused(self, sandbox: Sandbox) -> None:
        async def bad(verb: str, says: str, **fields: object) -> None:
            told = await sandbox.refused(verb, status=400, code="invalid_request", **fields)
            assert says in told

        absurd = (
            {"columns": 0, "rows": 1},
            {"columns": 1001, "rows": 1},
            {"columns": 80},
            {"columns": "80", "rows": 24},
            {**_SIZE, "colour": True},
            "80x24",
        )
        for size in absurd:
            await bad("execute", "terminal", command="true", terminal=size)
            await bad("input", "resize", request_id="a", offset=0, resize=size)
        await bad("execute", "term", command="true", terminal={**_SIZE, "term": "/etc/passwd"})
        for given in ({"stdin": "x"}, {"stdin_path": "/workspace/x"}):
            await bad("execute", "input", command="true", terminal=_SIZE, **given)
        await bad("execute", "leave them out", command="true", terminal=_SIZE, background=False)
        pipe = {"command": "cat", "background": True, "stdin_open": True, "request_id": "pipe"}
        await sandbox.call("execute", **pipe)
        await bad("input", "no terminal", request_id="pipe", offset=0, resize=_SIZE)
        await bad("signal", "no terminal", request_id="pipe", signal="INT", to="foreground")
        await _start(sandbox, "cat", "a")
        await bad("attach", "base64", request_id="a")
        await bad("input", "Ctrl-D", request_id="a", offset=0, close=True)
        ended = {"request_id": "a", "data": "\x04", "offset": 0}
        await sandbox.call("input", **ended)
        assert (await _shown(sandbox, "a"))[1]["exit_code"] == 0
        for more in ({"data": "x", "offset": 1}, {"offset": 0, "resize": _SIZE}):
            late = {"request_id": "a", **more}
            await sandbox.refused("input", status=409, code="process_ended", **late)

    @pytest.mark.new
    async def test_a_sandbox_has_eight_terminals(self, sandbox: Sandbox) -> None:
        for number in range(8):
            await _start(sandbox, ["sleep", "600"], f"{number}")
        more = {"command": "true", "terminal": _SIZE}
        told = await sandbox.refused("execute", status=429, code="too_many_commands", **more)
        assert "end one" in told
        await sandbox.call("signal", request_id="3", signal="KILL")
        await _shown(sandbox, "3")
        assert (await sandbox.call("execute", **more))["log_offset"] == 0
