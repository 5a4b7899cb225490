"""Servers and sandboxes that die at any moment, and what is found afterwards."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest
from tests.local.remains import left_behind, status

from oneseek_sandbox.errors import (
    CreationLostError,
    SandboxLostError,
)
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.local import host, processes
from oneseek_sandbox.runtimes.local.record import Record, new_name
from oneseek_sandbox.runtimes.local.records import Records

SERVER = """
import asyncio, os, signal, sys
from pathlib import Path
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.local.runtime import LocalRuntime
from oneseek_sandbox.runtimes.runtime import Labels
from oneseek_sandbox.settings import Settings

async def main():
    runtime = LocalRuntime(Settings(home=Path(sys.argv[1])))
    await runtime.open()
    labels = Labels(Thread("default", "conversation"), int(sys.argv[3]), 900_000, "0" * 32)
    if sys.argv[2] == "create":
        await runtime.create(labels)
        os.kill(os.getpid(), signal.SIGKILL)
    (found,) = await runtime.find(labels.thread)
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        if sys.argv[2] == "adopt":
            await runtime.adopt(found, labels)
        else:
            print(await runtime.stop(found.uid, found.name))
            return
        print("adopted")
    except Exception as error:
        print(type(error).__name__)

asyncio.run(main())
"""


def server(home, action, generation=1):
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-c", SERVER, str(home), action, str(generation)],
        env={"PYTHONPATH": paths, "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


async def until(condition):
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.01)


@pytest.mark.promise(8)
async def test_a_sandbox_outlives_its_killed_server_and_is_found_by_the_next(
    home, make_runtime, run, labels
):
    with server(home, "create") as dead:
        assert await asyncio.to_thread(dead.wait, 30) == -signal.SIGKILL
    runtime = await make_runtime()
    (found,) = await runtime.find(Thread("default", "conversation"))
    assert await runtime.inspect(found.uid, found.name) == "running"
    adopted = await runtime.adopt(found, labels(generation=2))
    assert not adopted.restarted
    assert (await run(adopted, "echo here")).output == "here"


async def test_a_restarted_sandbox_keeps_its_files_and_nothing_else(
    home, runtime, sandbox, labels, run
):
    await run(sandbox, "echo kept > file; echo lost > /tmp/file")
    await runtime.mark_claimed(sandbox)
    os.kill(status(home, sandbox)["child-pid"], signal.SIGKILL)
    await until(lambda: _is(runtime, sandbox, "stopped"))
    (found,) = await runtime.find(sandbox.labels.thread)
    again = await runtime.adopt(found, labels(generation=2))
    assert again.restarted
    assert (await run(again, "cat file; ls /tmp")).output == "kept"


async def _is(runtime, sandbox, state):
    return await runtime.inspect(sandbox.uid, sandbox.name) == state


async def test_a_restart_ends_what_the_death_of_the_monitor_left_running(
    home, runtime, sandbox, labels, run
):
    seen = status(home, sandbox)
    os.kill(seen["monitor-pid"], signal.SIGKILL)
    await until(lambda: _is(runtime, sandbox, "stopped"))
    again = await runtime.adopt(sandbox, labels(generation=2))
    assert processes.start_time(seen["child-pid"]) is None
    assert (await run(again, "echo here")).output == "here"


async def test_stop_ends_a_sandbox_whose_monitor_is_dead(home, runtime, sandbox):
    seen = status(home, sandbox)
    os.kill(seen["monitor-pid"], signal.SIGKILL)
    assert await runtime.stop(sandbox.uid, sandbox.name)
    assert processes.start_time(seen["child-pid"]) is None
    assert left_behind(home) == []


async def test_an_ending_looks_at_a_strangers_process_once(runtime, sandbox):
    looks = []
    stranger = f"/proc/{os.getpid()}/"

    def note(event, arguments):
        if event == "open" and str(arguments[0]).startswith(stranger) and looks is not None:
            looks.append(arguments[0])

    sys.addaudithook(note)
    try:
        assert await runtime.stop(sandbox.uid, sandbox.name)
        assert len(looks) <= 1, looks
    finally:
        looks = None


async def test_a_sandbox_whose_socket_was_swept_away_is_started_again(
    runtime, sandbox, labels, run
):
    Path(sandbox.address.removeprefix("unix:")).unlink()
    assert await _is(runtime, sandbox, "stopped")
    again = await runtime.adopt(sandbox, labels(generation=2))
    assert (await run(again, "echo here")).output == "here"


async def test_stop_leaves_nothing_behind_and_spares_what_links_point_at(
    home, runtime, sandbox, run, tmp_path
):
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o777)
    (precious / "file").write_text("mine")
    hostile = (
        f"ln -s {precious} folder; ln -s {precious}/file file; mkdir -p closed/deep;"
        " chmod 000 closed/deep closed; mkfifo pipe; touch -- '-rf' $'new\\nline' $'\\xff';"
        f" python3 -c \"import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')\";"
        " mkdir -p wide && cd wide && seq 2000 | xargs mkdir; chmod 000 ."
    )
    assert (await run(sandbox, hostile)).code == 0
    assert await runtime.stop(sandbox.uid, sandbox.name)
    assert left_behind(home) == []
    assert (precious / "file").read_text() == "mine"


async def test_a_creation_that_was_killed_before_it_started_can_be_adopted_or_stopped(
    home, make_runtime, labels, run
):
    runtime = await make_runtime()
    for generation in (1, 3):
        _half_made(home, labels(generation=generation))
    newest, oldest = await runtime.find(Thread("default", "conversation"))
    assert await _is(runtime, newest, "stopped")
    adopted = await runtime.adopt(newest, labels(generation=4))
    assert not adopted.restarted
    assert (await run(adopted, "echo here")).output == "here"
    assert await runtime.stop(oldest.uid, oldest.name)


def _half_made(home, labels, **changes):
    records = Records(home, open_to_pass=os.geteuid() == 0)
    user = records.users.take(host.private_users()) if os.geteuid() == 0 else None
    record = Record(uuid.uuid4().hex, new_name(labels.thread), labels, host_user=user)
    records.add(dataclasses.replace(record, **changes))
    return record


async def test_a_stop_that_was_killed_halfway_is_finished_by_the_next_server(
    home, make_runtime, labels, run
):
    first = await make_runtime()
    sandbox = await first.create(labels())
    records = Records(home)
    records.save(dataclasses.replace(records.read(sandbox.name), ending=True))
    moved = _half_made(home, labels("other"), ending=True)
    (home / "sandboxes" / moved.name).rename(home / "ending" / moved.name)
    assert await first.find(sandbox.labels.thread) == []
    assert await first.inspect(sandbox.uid, sandbox.name) == "running"
    with pytest.raises(SandboxLostError):
        await first.adopt(sandbox, labels(generation=2))
    await make_runtime()
    assert await first.inspect(sandbox.uid, sandbox.name) == "gone"
    assert left_behind(home) == []


def test_a_folder_that_is_gone_since_it_was_listed_is_not_unfinished(home):
    assert not Records(home).is_unfinished("ended-meanwhile", now_ms=1)


async def test_a_folder_without_a_record_is_deleted_once_nobody_can_be_making_it(
    home, make_runtime
):
    runtime = await make_runtime()
    for name in ("fresh", "old"):
        (home / "sandboxes" / name / "workspace").mkdir(parents=True)
    os.utime(home / "sandboxes" / "old", (0, 0))
    await runtime.maintain()
    assert left_behind(home) == ["fresh"]
    assert await runtime.list() == []
    os.utime(home / "sandboxes" / "fresh", (0, 0))


@pytest.mark.promise(3)
async def test_of_several_processes_that_adopt_and_stop_at_once_one_wins(
    home, make_runtime, labels
):
    runtime = await make_runtime()
    sandbox = await runtime.create(labels())
    contenders = [server(home, action, n) for n, action in enumerate(["adopt", "stop"] * 3, 2)]
    try:
        for contender in contenders:
            assert await asyncio.to_thread(contender.stdout.readline) == "ready\n"
        for contender in contenders:
            contender.stdin.write("go\n")
            contender.stdin.flush()
        answers = [
            (await asyncio.to_thread(contender.communicate, None, 60))[0].strip()
            for contender in contenders
        ]
    finally:
        for contender in contenders:
            contender.kill()
    assert set(answers) <= {"adopted", "True", *_LOST}
    assert answers.count("True") == 3
    assert answers.count("adopted") <= 1
    assert await runtime.inspect(sandbox.uid, sandbox.name) == "gone"
    assert left_behind(home) == []


_LOST = (CreationLostError.__name__, SandboxLostError.__name__)


@pytest.mark.finding(16)
async def test_deletions_that_take_long_keep_no_acquire_waiting(runtime, labels, monkeypatch):
    go_on, begun = threading.Event(), threading.Semaphore(0)

    def slow_stop(*_):
        begun.release()
        go_on.wait(60)
        return True

    monkeypatch.setattr(runtime._opened, "stop", slow_stop)
    stopping = [asyncio.create_task(runtime.stop(str(n), str(n))) for n in range(40)]
    try:
        assert await asyncio.to_thread(begun.acquire, timeout=30)
        async with asyncio.timeout(30):
            assert await runtime.find(labels("t").thread) == []
    finally:
        go_on.set()
        await asyncio.gather(*stopping)


@pytest.mark.promise(1, 4)
@pytest.mark.finding(3)
async def test_a_creation_that_is_cancelled_leaves_no_sandbox(runtime, labels):
    begun, make = threading.Event(), runtime._opened.create

    def slow_create(wanted):
        begun.set()
        return make(wanted)

    runtime._opened.create = slow_create
    creating = asyncio.create_task(runtime.create(labels("t")))
    assert await asyncio.to_thread(begun.wait, 30)
    creating.cancel()
    await asyncio.gather(creating, return_exceptions=True)
    await runtime._blocking._making.close()
    assert await runtime.list() == []
