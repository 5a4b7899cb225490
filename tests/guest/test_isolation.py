"""What code inside can do to the process that runs it: nothing but ask the kernel in vain."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from tests.guest.client import TOKEN, WorkerProcess, below, wait_until, worker_process
from tests.guest.conftest import UNUSED_UID, python_for

PROBE = r"""
import ctypes, os, resource, sys
libc = ctypes.CDLL(None, use_errno=True)
def outcome(call):
    try:
        return "done" if call() in (0, None) else os.strerror(ctypes.get_errno())
    except OSError as error:
        return error.strerror
limit = (ctypes.c_ulong * 2)(5, 5)
for target in (1, os.getppid()):
    for name in ("mem", "environ", "maps", "auxv"):
        print(target, name, outcome(lambda: open(f"/proc/{target}/{name}", "rb").close()))
    print(target, "fd", outcome(lambda: os.listdir(f"/proc/{target}/fd") and None))
    print(target, "ptrace", outcome(lambda: libc.ptrace(16, target, 0, 0)))
    print(target, "prlimit", outcome(lambda: libc.prlimit64(target, 7, limit, None)))
    print(target, "oom", outcome(lambda: open(f"/proc/{target}/oom_score_adj", "w").write("1000") and None))
print(1, "affinity", outcome(lambda: os.sched_setaffinity(1, {0})))
print(1, "idle", outcome(lambda: os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))))
"""


def test_first_process_cannot_be_read_traced_or_limited(first: WorkerProcess) -> None:
    answer = first.client().execute("exec python3 -I -", stdin=PROBE)
    lines = answer["stdout"].decode().splitlines()
    assert len(lines) == 18, answer["stderr"]
    assert [line for line in lines if line.endswith("done")] == []
    assert {line.rsplit(" ", 2)[-1] for line in lines} <= {"permitted", "denied"}


def test_own_limits_and_priorities_can_still_be_set(first: WorkerProcess) -> None:
    command = (
        "import os, resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (50, 60))\n"
        "print(resource.prlimit(0, resource.RLIMIT_NOFILE, (40, 60)))\n"
        "print(resource.prlimit(1, resource.RLIMIT_CPU) is not None)\n"
        "os.sched_setaffinity(0, os.sched_getaffinity(0))\n"
    )
    answer = first.client().execute("exec python3 -I -", stdin=command)
    assert (answer["stdout"], answer["stderr"]) == (b"(50, 60)\nTrue\n", b"")


@pytest.mark.parametrize("machine_call", ["prlimit --pid 1 --nofile=5:5", "ulimit -n 5; true"])
def test_prlimit_program_meets_the_filter_only_for_others(
    first: WorkerProcess, machine_call: str
) -> None:
    answer = first.client().execute(machine_call)
    assert (answer["exit_code"] == 0) == machine_call.startswith("ulimit")


def test_first_process_survives_every_signal(first: WorkerProcess) -> None:
    client = first.client()
    answer = client.execute("for n in $(seq 1 64); do kill -$n 1; done 2>/dev/null; echo sent")
    assert answer["stdout"] == b"sent\n"
    assert client.execute("echo alive")["stdout"] == b"alive\n"
    for _ in range(3):
        client.execute("for n in $(seq 200); do kill -CHLD 1; done")
    assert client.execute("echo alive")["stdout"] == b"alive\n"


def test_signals_from_outside_do_not_end_it_but_kill_does(worker: WorkerProcess) -> None:
    pid = worker.worker_pid
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSEGV, signal.SIGUSR1):
        os.kill(pid, number)
    assert worker.client().execute("echo alive")["stdout"] == b"alive\n"


def test_orphans_are_reaped(first: WorkerProcess) -> None:
    client = first.client()
    client.execute("for n in $(seq 50); do (setsid true &) ; done")
    zombies = "grep -l 'State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"
    wait_until(lambda: client.execute(zombies)["stdout"] == b"0\n")


def test_the_token_is_nowhere_inside(first: WorkerProcess) -> None:
    command = "cat /proc/*/environ /proc/*/cmdline 2>/dev/null; env; ls -R /run /tmp 2>/dev/null"
    assert TOKEN.encode() not in first.client().execute(command)["stdout"]


def test_commands_have_no_new_privileges_and_are_likelier_victims(first: WorkerProcess) -> None:
    client = first.client()
    status = client.execute("grep -E 'NoNewPrivs|Seccomp:' /proc/self/status")["stdout"]
    assert status.split() == [b"NoNewPrivs:", b"1", b"Seccomp:", b"2"]
    own = int(client.execute("cat /proc/self/oom_score_adj")["stdout"])
    assert own >= int(client.execute("cat /proc/1/oom_score_adj")["stdout"]) + 500


def test_commands_of_a_worker_of_low_priority_run_at_its_own() -> None:
    uid = UNUSED_UID if os.geteuid() == 0 else None
    low = ["nice", "-n", "15"]
    with worker_process(python=python_for(uid), uid=uid, prefix=lambda _: low) as process:
        client = process.client()
        client.claim()
        own = os.getpriority(os.PRIO_PROCESS, process.process.pid)
        assert client.execute("nice")["stdout"] == b"%d\n" % own


def test_time_limit_holds_while_a_command_attacks_its_monitor(first: WorkerProcess) -> None:
    attack = "while :; do kill -STOP $PPID 2>/dev/null; kill -CONT $PPID 2>/dev/null; done"
    started = time.monotonic()
    answer = first.client().execute(attack, timeout_ms=500, grace_ms=100)
    assert (answer["exit_code"], time.monotonic() - started < 30) == (124, True)


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_only_the_worker_is_left_after_commands(first: WorkerProcess) -> None:
    client = first.client()
    for _ in range(5):
        client.execute("true")
    wait_until(lambda: len(below(first.worker_pid)) <= 1)
