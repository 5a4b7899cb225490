"""Records that a power cut tore, and user ids that a killed server had just taken."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.local.remains import left_behind, status

from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.local import processes

THREAD = Thread("default", "conversation")

TAKEN_AND_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.local.records import Records
from oneseek_sandbox.runtimes.local.runtime import LocalRuntime
from oneseek_sandbox.runtimes.runtime import Labels
from oneseek_sandbox.settings import Settings

async def main():
    runtime = LocalRuntime(Settings(home=Path(sys.argv[1])))
    await runtime.open()
    Records.add = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    await runtime.create(Labels(Thread("default", "conversation"), 1, 900_000, "0" * 32))

asyncio.run(main())
"""

TORN = {"empty": b"", "half": b'{"version": 1, "uid": "12', "not an object": b"[1, 2]"}


@pytest.fixture
def tear(home):
    def tear(sandbox, content=b""):
        (home / "sandboxes" / sandbox.name / "object.json").write_bytes(content)

    return tear


@pytest.mark.finding(5)
@pytest.mark.parametrize("content", TORN.values(), ids=TORN)
async def test_a_damaged_record_stops_neither_the_start_nor_the_cleanup(
    home, make_runtime, runtime, labels, run, tear, content
):
    torn, whole = await runtime.create(labels("torn")), await runtime.create(labels("whole"))
    await run(torn, "echo precious > file")
    tear(torn, content)
    await runtime.maintain()
    assert [sandbox.uid for sandbox in await runtime.list()] == [whole.uid]
    tear(whole, content)
    again = await make_runtime()
    assert await again.list() == []
    for sandbox in (torn, whole):
        assert (home / "damaged" / sandbox.name).is_dir()
        assert await again.inspect(sandbox.uid, sandbox.name) == "gone"
    assert (home / "damaged" / torn.name / "workspace" / "file").read_text() == "precious\n"


@pytest.mark.finding(5)
async def test_the_processes_of_a_damaged_sandbox_end_and_its_thread_gets_another(
    home, runtime, sandbox, labels, tear
):
    first = status(home, sandbox)["child-pid"]
    tear(sandbox)
    assert await runtime.find(THREAD) == []
    assert processes.start_time(first) is None
    another = await runtime.create(labels(generation=2))
    assert [found.uid for found in await runtime.find(THREAD)] == [another.uid]
    assert await runtime.stop(sandbox.uid, sandbox.name)
    assert (home / "damaged" / sandbox.name).is_dir()


@pytest.mark.finding(5)
async def test_files_whose_record_never_reached_the_disk_are_kept(home, runtime, sandbox, run):
    await run(sandbox, "echo precious > file")
    folder = home / "sandboxes" / sandbox.name
    os.kill(status(home, sandbox)["monitor-pid"], signal.SIGKILL)
    (folder / "object.json").unlink()
    os.utime(folder, (0, 0))
    await runtime.maintain()
    kept = home / "damaged" / sandbox.name / "workspace" / "file"
    assert kept.read_text() == "precious\n"


@pytest.mark.finding(5)
async def test_doctor_and_the_list_tell_of_damaged_sandboxes(home, runtime, sandbox, tear, caplog):
    assert await runtime.damaged() == []
    tear(sandbox)
    await runtime.maintain()
    place = str(home / "damaged" / sandbox.name)
    assert await runtime.damaged() == [place]
    assert place in caplog.text
    (told,) = [check for check in await runtime.check() if check.name == "records readable"]
    assert not told.passed
    assert not told.required
    assert place in told.detail
    assert told.fix


@pytest.mark.finding(5)
async def test_the_user_of_a_damaged_sandbox_is_nobody_elses(home, runtime, sandbox, tear):
    if os.geteuid() != 0:
        pytest.skip("only root gives each sandbox a user of its own")
    (user,) = os.listdir(home / "users")
    tear(sandbox)
    os.utime(home / "users" / user, (0, 0))
    await runtime.maintain()
    assert os.listdir(home / "users") == [user]


@pytest.mark.finding(16)
async def test_a_server_killed_before_its_record_was_there_leaks_no_user(home, runtime):
    if os.geteuid() != 0:
        pytest.skip("only root gives each sandbox a user of its own")
    paths = os.pathsep.join(path for path in sys.path if path)
    program = [sys.executable, "-c", TAKEN_AND_KILLED, str(home)]
    environment = {"PYTHONPATH": paths, "PATH": "/usr/bin:/bin"}
    killed = await asyncio.to_thread(subprocess.run, program, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    (leaked,) = (home / "users").iterdir()
    await runtime.maintain()
    assert leaked.exists()  # somebody may be about to make its folder
    os.utime(leaked, (0, 0))
    await runtime.maintain()
    assert left_behind(home) == []


@pytest.mark.finding(16)
async def test_a_record_lost_on_the_way_to_deletion_frees_its_user(home, runtime, sandbox):
    folder = home / "sandboxes" / sandbox.name
    for name in ("monitor-pid", "child-pid"):
        os.kill(status(home, sandbox)[name], signal.SIGKILL)
    Path(sandbox.address.removeprefix("unix:")).unlink()
    (folder / "object.json").write_bytes(b"")
    folder.rename(home / "ending" / sandbox.name)
    await runtime.maintain()
    assert left_behind(home) == []
