"""Bytes in and out of a command: whole, or cut as it says, or an error that says so."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from oneseek_sandbox.testing.verbs.calls import Sandbox, VerbsFixtures

__all__ = ["OutputContract"]


class OutputContract(VerbsFixtures):
    """What a command is given to read, and what comes of what it prints."""

    async def test_output_is_bounded_with_head_and_tail(self, sandbox: Sandbox) -> None:
        answer = await sandbox.run(
            "echo first; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo last",
            max_output_bytes=10_000,
        )
        assert answer["stdout"].startswith("first\n")
        assert answer["stdout"].endswith("last\n")
        assert len(answer["stdout"]) < 10_200
        assert answer["stdout_truncated"] is True
        assert answer["stdout_bytes"] == 5_000_012

    async def test_utf8_is_never_cut_inside_a_character(self, sandbox: Sandbox) -> None:
        await sandbox.write("/workspace/euros", "€" * 5000)
        for limit in (1000, 1001, 1002, 1003):
            answer = await sandbox.run("cat euros", max_output_bytes=limit)
            kept = answer["stdout"].replace("€", "")
            assert answer["invalid_utf8"] is False
            assert "bytes left out" in kept

    async def test_bytes_that_are_not_text_are_shown_and_can_be_had(self, sandbox: Sandbox) -> None:
        shown = await sandbox.run("printf 'a\\377b'")
        assert (shown["stdout"], shown["invalid_utf8"]) == ("a\\xffb", True)
        exact = await sandbox.run("printf 'a\\377b'", encoding="base64")
        assert base64.b64decode(exact["stdout"]) == b"a\xffb"

    @pytest.mark.new
    async def test_ten_megabytes_come_whole(self, sandbox: Sandbox) -> None:
        size = 10 * 1024 * 1024
        answer = await sandbox.run(
            f"head -c {size} /dev/urandom | tee copy; sha256sum < copy >&2",
            max_output_bytes=size,
            overflow="error",
            encoding="base64",
        )
        stdout, stderr = (base64.b64decode(answer[name]) for name in ("stdout", "stderr"))
        assert (len(stdout), answer["stdout_truncated"]) == (size, False)
        assert stderr.decode().split()[0] == hashlib.sha256(stdout).hexdigest()

    @pytest.mark.new
    async def test_output_that_would_be_cut_can_be_an_error(self, sandbox: Sandbox) -> None:
        wanted = {"max_output_bytes": 10_000, "overflow": "error"}
        command = "echo ran >> log; seq 100000; echo err >&2; exit 3"
        error = await sandbox.refused(
            "execute", status=422, code="output_too_large", command=command, **wanted
        )
        assert "exit code 3" in error
        response = await sandbox.client.post(
            "/v1/sandbox/execute",
            json={"sandbox_id": sandbox.id, "command": command, **wanted},
            headers={"accept": "text/event-stream"},
        )
        told = json.loads(response.text.split("event: error\ndata: ")[1])["error"]
        assert told["details"] == {"exit_code": 3, "stdout_bytes": 588_895, "stderr_bytes": 4}
        assert told["may_have_run"] is True
        assert (await sandbox.run("cat log; seq 1000", **wanted))["stdout"].startswith(
            "ran\nran\n1\n"
        )

    @pytest.mark.new
    async def test_stdin_comes_from_a_file_of_any_size(self, sandbox: Sandbox) -> None:
        await sandbox.run("head -c 3000000 /dev/urandom > in; ln -s in link")
        for path in ("/workspace/in", "/workspace/link"):
            answer = await sandbox.run("cmp in - && echo same", stdin_path=path)
            assert (answer["stdout"], answer["exit_code"]) == ("same\n", 0)

    @pytest.mark.new
    async def test_a_stdin_that_is_no_file_starts_nothing(self, sandbox: Sandbox) -> None:
        await sandbox.run("mkdir folder; mkfifo pipe; ln -s /etc/passwd out")
        for path, status, code in (
            ("/workspace/missing", 404, "file_not_found"),
            ("/workspace/folder", 409, "is_a_directory"),
            ("/workspace/pipe", 409, "not_a_regular_file"),
            ("/workspace/out", 400, "path_outside_workspace"),
            ("/etc/passwd", 400, "path_outside_workspace"),
        ):
            wrong = {"command": "touch ran", "stdin_path": path}
            await sandbox.refused("execute", status=status, code=code, **wrong)
        both = {"command": "touch ran", "stdin": "", "stdin_path": "/workspace/in"}
        await sandbox.refused("execute", status=400, code="invalid_request", **both)
        assert (await sandbox.run("ls"))["stdout"] == "folder\nout\npipe\n"
