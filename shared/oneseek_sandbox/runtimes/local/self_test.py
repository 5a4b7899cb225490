"""The self-test: starts a real sandbox, looks from inside and from outside, and judges."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.errors import SandboxStartError
from oneseek_sandbox.guest.bundle import bundle
from oneseek_sandbox.runtimes.local import host, processes
from oneseek_sandbox.runtimes.local.fixes import (
    Machine,
    fix_for_failure,
    fix_for_limits,
    fix_for_start,
)
from oneseek_sandbox.runtimes.local.starter import Program
from oneseek_sandbox.runtimes.runtime import Check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oneseek_sandbox.runtimes.local.sandboxes import Sandboxes
    from oneseek_sandbox.settings import Settings

__all__ = ["Expected", "judge", "no_bwrap", "self_test"]

_ANSWER_SECONDS: Final = 20.0
_ANSWER_BYTES: Final = 1_000_000
_READ_ONLY: Final = ("", "/usr", "/etc", "/run", "/dev")
_ENVIRONMENT: Final = {"HOME", "LANG", "LC_CTYPE", "LOGNAME", "PATH", "PWD", "TMPDIR", "USER"}
_DENIED: Final = {"EPERM", "EACCES", "ENOSYS", "EROFS", "ENOENT"}


@dataclass(frozen=True, slots=True)
class Expected:
    """What a sandbox of this server should look like, and what was seen of it from outside.

    Attributes:
        namespaces: The server's own, by kind, which the sandbox must not share.
        host_user: Real uid of the sandbox's PID 1 on this machine.
    """

    host_user: int | None
    namespaces: dict[str, str]
    workspace: str
    tmp_bytes: int
    process_limit: int
    limits_processes: bool
    network: bool
    controllers: frozenset[str]


def self_test(sandboxes: Sandboxes, settings: Settings, controllers: frozenset[str]) -> list[Check]:
    """Start a trial sandbox and return what was found; nothing of it is left behind."""
    machine = Machine.look(has_bwrap=True)
    fix = fix_for_start(machine)
    try:
        facts, host_user = _probe(sandboxes, settings)
    except SandboxStartError as error:
        fix = fix_for_failure(machine, str(error), settings.home)
        return [Check("a sandbox starts", passed=False, required=True, detail=str(error), fix=fix)]
    expected = Expected(
        host_user=host_user,
        namespaces={
            name: str(Path(f"/proc/self/ns/{name}").readlink()) for name in facts["namespaces"]
        },
        workspace=settings.workspace_dir,
        tmp_bytes=settings.tmp_limit_mb * 1024**2,
        process_limit=settings.process_limit,
        limits_processes=host.limits_processes(),
        network=settings.network == "on",
        controllers=controllers,
    )
    started = Check("a sandbox starts", passed=True, required=True)
    return [started, *judge(facts, expected, fix)]


def no_bwrap() -> Check:
    """Return the finding where no bubblewrap is installed."""
    return Check(
        "a sandbox starts",
        passed=False,
        required=True,
        detail="there is no bubblewrap",
        fix=fix_for_start(Machine.look(has_bwrap=False)),
    )


def _probe(sandboxes: Sandboxes, settings: Settings) -> tuple[dict[str, Any], int | None]:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        port = str(listener.getsockname()[1])
        hidden = str(settings.home.absolute() / "sandboxes")
        arguments = (port, settings.workspace_dir, hidden)
        program = Program("probe.py", bundle("probe"), arguments, writing)
        try:
            pid = stack.enter_context(sandboxes.trial(program))
        finally:
            os.close(writing)
        return _read_answer(reading), processes.real_user(pid)


def _read_answer(reading: int) -> dict[str, Any]:
    """Read a line of JSON; the monitor holds the pipe as well, so its end says nothing."""
    text = b""
    deadline = time.monotonic() + _ANSWER_SECONDS
    while not text.endswith(b"\n") and len(text) < _ANSWER_BYTES:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(reading, 65_536) if ready else b""
        if not part:
            raise SandboxStartError("The self-test's sandbox started and then did not answer.")
        text += part
    answer: dict[str, Any] = json.loads(text)
    return answer


def judge(facts: dict[str, Any], expected: Expected, fix: str) -> list[Check]:
    """Compare what the probe found with what must hold."""
    results = [
        *_judge_identity(facts, expected),
        *_judge_namespaces(facts, expected),
        *_judge_files(facts, expected),
        *_judge_limits(facts, expected),
    ]
    checks = [
        Check(name, passed, required=True, detail=detail, fix="" if passed else fix)
        for name, passed, detail in results
    ]
    return [*checks, *_judge_groups(expected)]


_Result = tuple[str, bool, str]


def _judge_identity(facts: dict[str, Any], expected: Expected) -> Iterator[_Result]:
    user, status, calls = expected.host_user, facts["status"], facts["system-calls"]
    yield "not root on this machine", user not in (0, None), f"uid {user}"
    capabilities = {name: value for name, value in status.items() if name.startswith("Cap")}
    yield "no capabilities", all(int(v or "1", 16) == 0 for v in capabilities.values()), ""
    yield "no new privileges", status["NoNewPrivs"] == "1" and calls["setuid"] != "", ""
    yield "seccomp filter", status["Seccomp"] == "2", f"Seccomp {status['Seccomp']}"
    yield "kernel settings closed", facts["kernel-settings"] in _DENIED, facts["kernel-settings"]
    yield "sysrq closed", facts["sysrq"] in _DENIED, facts["sysrq"]
    names = {
        "unshare-user": "no new user namespaces",
        "unshare-net": "no new network namespaces",
        "mount": "no mounts",
        "ptrace": "no tracing",
        "prlimit": "no limits on other processes",
    }
    for call, name in names.items():
        yield name, calls[call] in _DENIED, calls[call] or "it worked"


def _judge_namespaces(facts: dict[str, Any], expected: Expected) -> Iterator[_Result]:
    for kind, seen in facts["namespaces"].items():
        yield f"own {kind} namespace", seen != expected.namespaces[kind], seen
    processes_seen = facts["processes"]
    alone = facts["pid"] == 1 and processes_seen <= 2
    yield "sees no other processes", alone, f"{processes_seen} seen"
    yield "own host name", facts["hostname"] == "sandbox", facts["hostname"]
    loopback = facts["host-loopback"]
    yield "loopback of this machine closed", loopback != "", loopback or "it connected"
    reached = [address for address, error in facts["routes"].items() if not error]
    yield "private ranges closed", not reached, ", ".join(reached)
    if not expected.network:
        interfaces = facts["interfaces"]
        yield "network off", interfaces == ["lo"], ", ".join(interfaces)


def _judge_files(facts: dict[str, Any], expected: Expected) -> Iterator[_Result]:
    writable = facts["writable"]
    open_paths = [path or "/" for path in _READ_ONLY if writable[path] not in _DENIED]
    yield "system is read-only", not open_paths, ", ".join(open_paths)
    places = (expected.workspace, "/tmp", "/dev/shm")  # noqa: S108
    closed = [path for path in places if writable[path]]
    yield "workspace and /tmp are writable", not closed, ", ".join(closed)
    yield "other sandboxes out of sight", not facts["present"], ", ".join(facts["present"])
    strange = sorted(set(facts["environment"]) - _ENVIRONMENT)
    yield "no environment of the server", not strange, ", ".join(strange)
    leaked = facts["descriptors"]
    yield "no open files of the server", not leaked, ", ".join(leaked)


def _judge_limits(facts: dict[str, Any], expected: Expected) -> Iterator[_Result]:
    for path, size in facts["sizes"].items():
        yield f"{path} is bounded", 0 < size <= expected.tmp_bytes, f"{size} bytes"
    limits = facts["limits"]
    yield "no core dumps", limits["RLIMIT_CORE"] == 0, ""
    finite = all(limits[name] > 0 for name in ("RLIMIT_NOFILE", "RLIMIT_FSIZE"))
    yield "files are bounded", finite, ""
    count = limits["RLIMIT_NPROC"]
    bounded = 0 < count <= expected.process_limit or not expected.limits_processes
    yield "processes are bounded", bounded, f"{count}"


def _judge_groups(expected: Expected) -> Iterator[Check]:
    for controller, name in (("memory", "memory limit"), ("pids", "process limit")):
        passed = controller in expected.controllers
        detail = "control group" if passed else "no control group can be written here"
        fix = "" if passed else fix_for_limits()
        yield Check(name, passed, required=False, detail=detail, fix=fix)
