"""Managed processes: started, left, found again with their output, spoken to and stopped."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest

from oneseek_sandbox.testing.verbs.calls import Sandbox, VerbsFixtures

__all__ = ["ProcessesContract"]

_TALKER = "echo ready; while read line; do echo got $line; done; echo end >&2; exit 3"


async def _start(
    sandbox: Sandbox, command: str | list[str], request_id: str, **fields: object
) -> dict[str, Any]:
    wanted = {"command": command, "background": True, "request_id": request_id}
    return await sandbox.call("execute", **wanted, **fields)


async def _all_of(
    sandbox: Sandbox, request_id: str, **fields: object
) -> tuple[str, str, dict[str, Any]]:
    """Return stdout and stderr until the process has ended, and what is said of it then."""
    texts = {"stdout": "", "stderr": ""}
    offset = 0
    while True:
        answer = await sandbox.call(
            "attach", request_id=request_id, offset=offset, wait_seconds=30, **fields
        )
        for event in answer["events"]:
            texts[event["type"]] += event["text"]
        offset = answer["next_offset"]
        process = answer["process"]
        if process["state"] != "running" and offset == process["log"]["next_offset"]:
            return texts["stdout"], texts["stderr"], process


async def _of(sandbox: Sandbox, request_id: str) -> dict[str, Any]:
    process: dict[str, Any]
    (process,) = (await sandbox.call("processes", request_id=request_id))["processes"]
    return process


async def _stream(
    sandbox: Sandbox, headers: dict[str, str] | None = None, **fields: object
) -> list[tuple[str, int, dict[str, Any]]]:
    """Return the events of a stream: name, id and data of each."""
    response = await sandbox.client.post(
        "/v1/sandbox/attach",
        json={"sandbox_id": sandbox.id, **fields},
        headers={"accept": "text/event-stream", **(headers or {})},
    )
    assert response.status_code == 200, response.text
    events = []
    for block in response.text.split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        events.append((lines["event"], int(lines["id"]), json.loads(lines["data"])))
    return events


class ProcessesContract(VerbsFixtures):
    """What processes in the background promise."""

    @pytest.mark.new
    @pytest.mark.essential
    async def test_a_process_is_started_left_found_again_and_read(self, sandbox: Sandbox) -> None:
        begun = await _start(sandbox, "echo out; echo err >&2; sleep 0.3; echo last; exit 7", "a")
        assert (begun["request_id"], begun["sandbox_id"]) == ("a", sandbox.id)
        assert begun["log_offset"] == 0
        process = await _of(sandbox, "a")
        assert (process["pid"], process["started_at"]) == (begun["pid"], begun["started_at"])
        stdout, stderr, process = await _all_of(sandbox, "a")
        assert (stdout, stderr) == ("out\nlast\n", "err\n")
        assert (process["state"], process["exit_code"]) == ("exited", 7)
        listed = (await sandbox.call("processes", state="exited"))["processes"]
        assert [found["request_id"] for found in listed] == ["a"]

    @pytest.mark.new
    async def test_a_start_is_answered_while_the_process_runs_and_repeated(
        self, sandbox: Sandbox
    ) -> None:
        began = time.monotonic()
        begun = await _start(sandbox, "echo once >> ran; sleep 600", "a")
        assert time.monotonic() - began < 60
        assert await _start(sandbox, "echo once >> ran; sleep 600", "a") == begun
        wrong = {"command": "true", "background": True, "request_id": "a"}
        await sandbox.refused("execute", status=409, code="request_id_conflict", **wrong)
        assert (await sandbox.run("cat ran"))["stdout"] == "once\n"

    @pytest.mark.new
    async def test_the_same_id_is_the_same_process_in_the_background_or_not(
        self, sandbox: Sandbox
    ) -> None:
        fields = {"timeout_seconds": 20}
        await _start(sandbox, "echo once >> ran; sleep 0.2; cat ran", "a", **fields)
        answer = await sandbox.run("echo once >> ran; sleep 0.2; cat ran", request_id="a", **fields)
        assert answer["stdout"] == "once\n"

    @pytest.mark.new
    async def test_without_an_id_one_is_made(self, sandbox: Sandbox) -> None:
        begun = await sandbox.call("execute", command="echo hi", background=True)
        assert (await _all_of(sandbox, begun["request_id"]))[0] == "hi\n"

    @pytest.mark.new
    async def test_a_program_that_cannot_be_run_is_an_error(self, sandbox: Sandbox) -> None:
        wrong = {"command": ["/no/program"], "background": True, "request_id": "a"}
        told = await sandbox.refused("execute", status=409, code="cannot_execute", **wrong)
        assert "/no/program" in told
        await sandbox.refused("attach", status=404, code="process_not_found", request_id="a")
        await _start(sandbox, "echo now", "a")
        assert (await _all_of(sandbox, "a"))[0] == "now\n"

    @pytest.mark.new
    @pytest.mark.essential
    async def test_a_process_is_spoken_to(self, sandbox: Sandbox) -> None:
        await _start(sandbox, _TALKER, "a", stdin_open=True)
        one = {"request_id": "a", "data": "grüße\n", "offset": 0}
        for _ in range(3):
            assert (await sandbox.call("input", **one))["stdin_offset"] == 8
        response = await sandbox.client.post(
            "/v1/sandbox/input",
            params={"sandbox_id": sandbox.id, "request_id": "a", "offset": 8, "close": "true"},
            content=b"raw\n",
            headers={"content-type": "application/octet-stream"},
        )
        assert response.json()["stdin_offset"] == 12, response.text
        stdout, stderr, process = await _all_of(sandbox, "a")
        assert (stdout, stderr) == ("ready\ngot grüße\ngot raw\n", "end\n")
        assert (process["exit_code"], process["stdin_open"]) == (3, False)

    @pytest.mark.new
    async def test_input_that_does_not_fit_is_refused_with_where_to_go_on(
        self, sandbox: Sandbox
    ) -> None:
        await _start(sandbox, "sleep 600", "deaf", stdin_open=True)
        await _start(sandbox, "sleep 600", "closed")
        ahead = {"request_id": "deaf", "data": "x", "offset": 5}
        assert (await _details(sandbox, "input", 409, "input_gap", **ahead))["stdin_offset"] == 0
        much = {"request_id": "deaf", "data": "x" * 3_000_000, "offset": 0}
        full = await _details(sandbox, "input", 429, "input_full", **much)
        assert 0 < full["stdin_offset"] == full["pending"] <= 1024 * 1024
        assert (await _of(sandbox, "deaf"))["stdin_offset"] == full["stdin_offset"]
        never = {"request_id": "closed", "data": "x", "offset": 0}
        await sandbox.refused("input", status=409, code="stdin_closed", **never)
        await sandbox.call("signal", request_id="deaf", signal="KILL")
        await _all_of(sandbox, "deaf")
        await sandbox.refused("input", status=409, code="process_ended", **much)

    @pytest.mark.new
    @pytest.mark.essential
    async def test_a_process_is_stopped_with_what_it_started(self, sandbox: Sandbox) -> None:
        await _start(sandbox, "sleep 600 & echo $! > child; echo ready; wait", "a")
        await sandbox.call("attach", request_id="a", wait_seconds=30)
        sent = await sandbox.call("signal", request_id="a", signal="TERM")
        assert sent["delivered"] >= 2
        assert (await _all_of(sandbox, "a"))[2]["exit_code"] == 143
        gone = "kill -0 $(cat child)"
        while (await sandbox.run(gone))["exit_code"] == 0:
            await asyncio.sleep(0.05)
        again = {"request_id": "a", "signal": "TERM"}
        await sandbox.refused("signal", status=409, code="process_ended", **again)

    @pytest.mark.new
    async def test_what_a_process_leaves_running_is_told_and_reached(
        self, sandbox: Sandbox
    ) -> None:
        await _start(sandbox, "sleep 600 > /dev/null 2>&1 & exit 0", "a")
        process = (await _all_of(sandbox, "a"))[2]
        assert (process["state"], process["leftover"]) == ("exited", True)
        sent = await sandbox.call("signal", request_id="a", signal="KILL")
        assert sent == {"delivered": 1, "state": "exited"}

    @pytest.mark.new
    async def test_a_limit_and_a_cancel_end_a_process(self, sandbox: Sandbox) -> None:
        await _start(sandbox, "sleep 600", "limited", timeout_seconds=0.3)
        await _start(sandbox, "sleep 600", "free")
        process = (await _all_of(sandbox, "limited"))[2]
        assert (process["exit_code"], process["killed_by"]) == (124, "timeout")
        assert (await _of(sandbox, "free"))["deadline_at"] is None
        assert (await sandbox.call("execute", cancel="free"))["cancelled"] is True
        assert (await _all_of(sandbox, "free"))[2]["killed_by"] == "cancelled"

    @pytest.mark.new
    @pytest.mark.essential
    async def test_a_stream_brings_output_as_it_comes_and_the_end_last(
        self, sandbox: Sandbox
    ) -> None:
        await _start(sandbox, "echo one; sleep 0.3; echo two >&2; exit 5", "a")
        events = await _stream(sandbox, request_id="a")
        assert [(name, id_) for name, id_, _ in events] == [
            ("stdout", 4),
            ("stderr", 8),
            ("exit", 8),
        ]
        assert events[-1][2]["process"]["exit_code"] == 5
        assert await _stream(sandbox, request_id="a", offset="end") == events[2:]
        resumed = await _stream(sandbox, {"last-event-id": "4"}, request_id="a")
        assert resumed == events[1:]

    @pytest.mark.new
    async def test_a_stream_ends_by_itself_and_says_where_to_go_on(self, sandbox: Sandbox) -> None:
        await _start(sandbox, "echo one; sleep 600", "a")
        events = await _stream(sandbox, request_id="a", wait_seconds=0.5)
        assert [name for name, _, _ in events] == ["stdout", "again"]
        assert events[-1][1:] == (4, {"next_offset": 4})

    @pytest.mark.new
    async def test_half_a_character_is_never_read(self, sandbox: Sandbox) -> None:
        script = r"printf 'a\303'; sleep 0.3; printf '\274b\377'"
        await _start(sandbox, script, "a")
        answer = await sandbox.call("attach", request_id="a", wait_seconds=30)
        assert (answer["events"][0]["text"], answer["next_offset"]) == ("a", 1)
        assert (await _all_of(sandbox, "a"))[0] == "aüb\\xff"
        exact = (await _all_of(sandbox, "a", encoding="base64"))[0]
        assert base64.b64decode(exact) == b"a\xc3\xbcb\xff"

    @pytest.mark.new
    async def test_offsets_that_are_not_there_are_told(self, sandbox: Sandbox) -> None:
        await _start(sandbox, "echo four", "a")
        await _all_of(sandbox, "a")
        ahead = {"request_id": "a", "offset": 6}
        details = await _details(sandbox, "attach", 400, "offset_ahead", **ahead)
        assert details == {"next_offset": 5}
        await _start(sandbox, "yes | head -c 3000000", "long")
        while (await _of(sandbox, "long"))["state"] == "running":
            await asyncio.sleep(0.05)
        found = await sandbox.call("attach", request_id="long", offset=65_536, max_bytes=10)
        assert found["events"][0] == {"type": "gap", "from": 65_536, "to": 3_000_000 - 1_048_576}
        assert found["next_offset"] == found["events"][0]["to"] + 10

    @pytest.mark.new
    async def test_what_is_not_known_is_404_with_the_sandboxs_generation(
        self, sandbox: Sandbox
    ) -> None:
        for verb, fields in (
            ("processes", {}),
            ("attach", {}),
            ("input", {"data": "x", "offset": 0}),
            ("signal", {"signal": "TERM"}),
        ):
            wanted = {"request_id": "no", **fields}
            details = await _details(sandbox, verb, 404, "process_not_found", **wanted)
            assert details == {"generation": sandbox.acquired["generation"]}

    @pytest.mark.new
    async def test_bad_fields_are_refused(self, sandbox: Sandbox) -> None:
        await _start(sandbox, "sleep 600", "a", stdin_open=True)
        for verb, fields in (
            ("signal", {"signal": "SEGV"}),
            ("signal", {"signal": "TERM", "to": "nobody"}),
            ("attach", {"offset": -1}),
            ("attach", {"offset": "begin"}),
            ("attach", {"wait_seconds": 541}),
            ("attach", {"max_bytes": 0}),
            ("input", {"data": "x"}),
            ("input", {"offset": 0}),
            ("input", {"data": "no base64", "encoding": "base64", "offset": 0}),
            ("processes", {"state": "gone"}),
            ("execute", {"command": "x", "stdin_open": True}),
            ("execute", {"command": "x", "background": True, "stdin": "", "stdin_open": True}),
            ("execute", {"command": "x", "background": True, "timeout_seconds": 10**6}),
        ):
            wanted = {"request_id": "a", **fields}
            await sandbox.refused(verb, status=400, code="invalid_request", **wanted)
        assert (await _of(sandbox, "a"))["state"] == "running"

    @pytest.mark.new
    async def test_a_list_goes_on_where_it_ended(self, sandbox: Sandbox) -> None:
        for number in range(5):
            await sandbox.run("true", request_id=f"p{number}")
        first = await sandbox.call("processes", limit=3)
        rest = await sandbox.call("processes", limit=3, cursor=first["cursor"])
        names = [process["request_id"] for process in first["processes"] + rest["processes"]]
        assert (names, rest["cursor"]) == ([f"p{number}" for number in range(5)], None)


async def _details(
    sandbox: Sandbox, verb: str, status: int, code: str, **fields: object
) -> dict[str, int]:
    """Return the details of a refusal."""
    response = await sandbox.client.post(
        f"/v1/sandbox/{verb}", json={"sandbox_id": sandbox.id, **fields}
    )
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text
    details: dict[str, int] = response.json()["error"]["details"]
    return details
