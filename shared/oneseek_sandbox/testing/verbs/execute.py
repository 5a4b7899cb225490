"""Execute: the answer is exact, comes back whatever the command does, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from oneseek_sandbox.testing.verbs.calls import Sandbox, VerbsFixtures, call

__all__ = ["ExecuteContract"]


class ExecuteContract(VerbsFixtures):
    """What running a command promises."""

    @pytest.mark.essential
    async def test_stdout_stderr_and_exit_code_are_apart(self, sandbox: Sandbox) -> None:
        answer = await sandbox.run("echo out; echo err >&2; exit 7")
        assert (answer["stdout"], answer["stderr"], answer["exit_code"]) == ("out\n", "err\n", 7)
        assert answer["timed_out"] is False
        assert answer["killed_by"] is None

    async def test_a_thread_names_its_sandbox(self, sandbox: Sandbox) -> None:
        answer = await call(
            sandbox.client, "execute", thread_id=sandbox.thread, command="echo hello"
        )
        assert answer["stdout"] == "hello\n"

    async def test_a_list_is_run_without_a_shell(self, sandbox: Sandbox) -> None:
        answer = await sandbox.run(["printf", "%s|", "$HOME", "a b", "*"])
        assert answer["stdout"] == "$HOME|a b|*|"

    async def test_a_signal_gives_128_and_its_number(self, sandbox: Sandbox) -> None:
        assert (await sandbox.run("kill -TERM $$"))["exit_code"] == 128 + 15

    async def test_cwd_env_and_stdin_are_given(self, sandbox: Sandbox) -> None:
        await sandbox.run("mkdir -p a/b")
        answer = await sandbox.run(
            "pwd; echo $GREETING; cat",
            cwd="/workspace/a/b",
            env={"GREETING": "grüß dich"},
            stdin="from stdin",
        )
        assert answer["stdout"] == "/workspace/a/b\ngrüß dich\nfrom stdin"

    async def test_without_stdin_a_reader_ends_at_once(self, sandbox: Sandbox) -> None:
        answer = await sandbox.run("cat; echo done", timeout_seconds=10)
        assert (answer["stdout"], answer["timed_out"]) == ("done\n", False)

    async def test_env_does_not_leak_into_the_next_command(self, sandbox: Sandbox) -> None:
        await sandbox.run("export LEFT=behind", env={"GIVEN": "once"})
        assert (await sandbox.run("echo [$LEFT$GIVEN]"))["stdout"] == "[]\n"

    async def test_a_module_that_was_fixed_at_once_runs_fixed(self, sandbox: Sandbox) -> None:
        await sandbox.write("/workspace/module.py", "value = 1\n")
        assert (await sandbox.run(["python3", "-c", "import module"]))["exit_code"] == 0
        await sandbox.call("replace", path="/workspace/module.py", old="1", new="2")
        answer = await sandbox.run(["python3", "-c", "import module; print(module.value)"])
        assert answer["stdout"] == "2\n"

    @pytest.mark.essential
    async def test_the_time_limit_ends_the_tree_and_keeps_the_output(
        self, sandbox: Sandbox
    ) -> None:
        token = secrets.token_hex(8)
        script = (
            f"echo before; (trap '' TERM; setsid sh -c 'trap \"\" TERM; : {token}; sleep 300' &) ;"
            f" sh -c ': {token}; sleep 300'"
        )
        answer = await sandbox.run(script, timeout_seconds=1)
        assert answer["stdout"] == "before\n"
        assert answer["timed_out"] is True
        assert answer["killed_by"] == "timeout"
        assert answer["exit_code"] == 124
        assert "background" in answer["hint"]
        assert await _processes_with(sandbox, token) == 0

    async def test_a_background_process_does_not_hold_the_answer(self, sandbox: Sandbox) -> None:
        answer = await sandbox.run("sleep 60 & echo started", timeout_seconds=30)
        assert answer["stdout"] == "started\n"
        assert answer["background"] is True
        assert answer["duration_ms"] < 5000
        assert (await sandbox.run("pgrep -c sleep || ls /proc"))["exit_code"] == 0

    @pytest.mark.essential
    async def test_a_request_id_runs_once_and_repeats_its_answer(self, sandbox: Sandbox) -> None:
        fields = {"command": "echo x >> runs; wc -l < runs", "request_id": "r1"}
        answers = await asyncio.gather(*(sandbox.call("execute", **fields) for _ in range(5)))
        assert {answer["stdout"].strip() for answer in answers} == {"1"}
        assert (await sandbox.read("/workspace/runs"))["content"] == "x\n"

    async def test_a_request_id_with_another_request_is_a_conflict(self, sandbox: Sandbox) -> None:
        await sandbox.run("true", request_id="r1")
        await sandbox.refused(
            "execute", status=409, code="request_id_conflict", command="false", request_id="r1"
        )

    async def test_a_running_command_can_be_cancelled(self, sandbox: Sandbox) -> None:
        running = asyncio.create_task(sandbox.run("touch up; sleep 60", request_id="long"))
        await _wait_for_file(sandbox, "/workspace/up")
        assert await sandbox.call("execute", cancel="long") == {"cancelled": True}
        assert (await running)["killed_by"] == "cancelled"
        assert await sandbox.call("execute", cancel="long") == {"cancelled": False}

    @pytest.mark.finding(13)
    async def test_all_processes_can_be_ended_with_the_files_kept(self, sandbox: Sandbox) -> None:
        token = secrets.token_hex(8)
        await sandbox.run(f"sh -c ': {token}; sleep 60; true' >/dev/null 2>&1 &")
        running = asyncio.create_task(sandbox.run("touch up; sleep 60"))
        await _wait_for_file(sandbox, "/workspace/up")
        assert await sandbox.call("execute", cancel="*") == {"cancelled": True}
        assert (await running)["killed_by"] == "cancelled"
        assert await _processes_with(sandbox, token) == 0
        assert (await sandbox.run("ls"))["stdout"] == "up\n"
        assert await sandbox.call("execute", cancel="*") == {"cancelled": False}

    async def test_no_request_id_stands_for_all(self, sandbox: Sandbox) -> None:
        await sandbox.refused(
            "execute", status=400, code="invalid_request", command="true", request_id="*"
        )

    @pytest.mark.essential
    async def test_a_dropped_connection_ends_the_command(self, sandbox: Sandbox) -> None:
        token = secrets.token_hex(8)
        running = asyncio.create_task(sandbox.run(f"touch up; : {token}; sleep 77; true"))
        await _wait_for_file(sandbox, "/workspace/up")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        async with asyncio.timeout(15):
            while await _processes_with(sandbox, token):
                await asyncio.sleep(0.05)

    async def test_with_a_request_id_it_outlives_the_connection(self, sandbox: Sandbox) -> None:
        fields = {"command": "touch up; until [ -e go ]; do sleep 0.01; done; echo ran; echo x>>n"}
        running = asyncio.create_task(sandbox.call("execute", request_id="kept", **fields))
        await _wait_for_file(sandbox, "/workspace/up")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await sandbox.write("/workspace/go", "")
        answer = await sandbox.call("execute", request_id="kept", **fields)
        assert answer["stdout"] == "ran\n"
        assert (await sandbox.read("/workspace/n"))["content"] == "x\n"

    @pytest.mark.promise(6)
    async def test_release_ends_a_running_command_with_410(self, sandbox: Sandbox) -> None:
        running = asyncio.create_task(
            sandbox.client.post(
                "/v1/sandbox/execute",
                json={"sandbox_id": sandbox.id, "command": "touch up; sleep 60"},
            )
        )
        await _wait_for_file(sandbox, "/workspace/up")
        await sandbox.call("release")
        response = await running
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (410, "sandbox_released")
        assert error["may_have_run"] is True

    @pytest.mark.parametrize(
        "attack", ["pkill python || true; echo after", "kill -9 -1", "kill -STOP -1; kill -9 -1"]
    )
    async def test_killing_everything_inside_is_answered_and_survived(
        self, sandbox: Sandbox, attack: str
    ) -> None:
        await sandbox.write("/workspace/kept", "still here")
        answer = await sandbox.run(attack, timeout_seconds=5)
        assert "exit_code" in answer
        again = await sandbox.run("cat kept")
        assert (again["stdout"], again["exit_code"]) == ("still here", 0)

    async def test_a_fork_bomb_is_ended_and_survived(self, sandbox: Sandbox) -> None:
        bomb = "import os\nwhile True:\n try: os.fork()\n except OSError: pass\n"
        await sandbox.write("/workspace/bomb.py", bomb)
        answer = await sandbox.run("python3 bomb.py", timeout_seconds=2)
        assert answer["killed_by"] is not None
        async with asyncio.timeout(20):
            while (await sandbox.run("echo alive; true"))["stdout"] != "alive\n":
                await asyncio.sleep(0.1)

    async def test_a_full_memory_limit_is_answered_and_survived(self, sandbox: Sandbox) -> None:
        await sandbox.write("/workspace/kept", "still here")
        script = "b = []\nfor _ in range(400): b.append(bytearray(10**7))\nprint('no limit')"
        answer = await sandbox.run(["python3", "-c", script], timeout_seconds=60)
        assert answer["stdout"] == ""
        if answer["killed_by"] is None:
            # Without a control group each process has its own limit, and is told by its runtime.
            assert "MemoryError" in answer["stderr"]
        else:
            assert answer["killed_by"] == "out_of_memory"
            assert "memory limit" in answer["hint"]
        assert (await sandbox.run("cat kept"))["stdout"] == "still here"

    @pytest.mark.finding(10)
    async def test_memory_that_ran_out_within_a_pipeline_is_said(self, sandbox: Sandbox) -> None:
        script = "b = []\nfor _ in range(400): b.append(bytearray(10**7))\nprint('no limit')"
        await sandbox.write("/workspace/hungry.py", script)
        answer = await sandbox.run("python3 hungry.py | tail -1", timeout_seconds=60)
        assert (answer["exit_code"], answer["stdout"]) == (0, "")
        if "MemoryError" in answer["stderr"]:
            return  # without a control group each process has its own limit, and says so itself
        assert answer["oom_kills"] >= 1
        assert "memory limit" in answer["hint"]

    async def test_a_huge_command_line_runs(self, sandbox: Sandbox) -> None:
        text = "y" * 300_000
        answer = await sandbox.run(f"cat > big <<'E'\n{text}\nE\nwc -c < big")
        assert answer["stdout"].strip() == "300001"

    async def test_a_command_that_wants_the_network_is_told_of_it(self, sandbox: Sandbox) -> None:
        script = "import urllib.request as r; r.urlopen('http://example.invalid', timeout=5)"
        answer = await sandbox.run(["python3", "-c", script])
        assert answer["exit_code"] == 1
        assert "no network" in (answer["hint"] or "")


async def _processes_with(sandbox: Sandbox, token: str) -> int:
    script = (
        "import os\nfound = 0\nfor p in filter(str.isdigit, os.listdir('/proc')):\n"
        " try: text = open(f'/proc/{p}/cmdline','rb').read()\n except OSError: continue\n"
        f" found += b'{token[:8]}' + b'{token[8:]}' in text\nprint(found)"
    )
    return int((await sandbox.run(["python3", "-c", script]))["stdout"])


async def _wait_for_file(sandbox: Sandbox, path: str) -> None:
    async with asyncio.timeout(15):
        while True:
            response = await sandbox.client.post(
                "/v1/sandbox/read_file", json={"sandbox_id": sandbox.id, "path": path}
            )
            if response.status_code == 200:
                return
            await asyncio.sleep(0.02)
