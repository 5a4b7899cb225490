"""What code inside a sandbox attempts, and that it gets nowhere."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import uuid

import pytest

from oneseek_sandbox.runtimes.local import cgroups

PYTHON = "python3 - <<'PROGRAM'\n{}\nPROGRAM"

FORKING = "exec python3 -c 'import os\nwhile True:\n try: os.fork()\n except OSError: pass'"
ATTEMPT = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def attempt(result):
    print("worked" if result != -1 else errno.errorcode[ctypes.get_errno()])
"""


async def test_another_sandbox_cannot_be_read(runtime, sandbox, labels, run, home):
    secret = uuid.uuid4().hex
    assert (await run(sandbox, f"echo {secret} > secret")).code == 0
    other = await runtime.create(labels("another"))
    path = home / "sandboxes" / sandbox.name / "workspace" / "secret"
    assert path.is_file()
    answer = await run(
        other, f"cat {path}; find / -name secret 2>/dev/null; grep -rs {secret} /workspace"
    )
    assert answer.code != 0
    assert secret not in answer.output.replace(str(path), "")
    assert f"{home}" not in (await run(other, "ls -d /tmp/* /run/* /workspace/*")).output


@pytest.mark.parametrize(
    "path",
    [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/kernel/modprobe",
        "/proc/sysrq-trigger",
        "/sys/fs/cgroup/cgroup.procs",
        "/usr/bin/planted",
        "/etc/passwd",
        "/run/worker",
        "/dev/planted",
        "/planted",
        "/proc/1/oom_score_adj",
    ],
)
async def test_nothing_of_the_system_can_be_written(sandbox, run, path):
    answer = await run(sandbox, f"echo x > {path}")
    assert answer.code != 0
    assert any(word in answer.output for word in ("denied", "Read-only", "nonexistent", "No such"))


@pytest.mark.parametrize(
    "call",
    [
        'libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)',
        "libc.unshare(0x10000000)",
        "libc.unshare(0x40000000)",
        "libc.setns(os.open('/proc/self/ns/net', 0), 0)",
        "libc.ptrace(16, 1, None, None)",
        "libc.ptrace(0x4206, 1, None, None)",
        "libc.prlimit(1, 7, (ctypes.c_ulong * 2)(0, 0), None)",
        "libc.prlimit(os.getppid(), 7, (ctypes.c_ulong * 2)(0, 0), None)",
        "libc.syscall(ctypes.c_long(__import__('platform').machine() == 'x86_64' and 56 or 220),"
        " ctypes.c_ulong(0x10000011), 0, 0, 0, 0)",
        "libc.syscall(ctypes.c_long(435), None, 0)",
        "libc.syscall(ctypes.c_long(425), 1, None)",
        "libc.chroot(b'/tmp')",
        "libc.ioctl(0, 0x5412, b'x')",
    ],
)
async def test_calls_that_reach_further_are_refused(sandbox, run, call):
    answer = await run(sandbox, PYTHON.format(f"{ATTEMPT}attempt({call})"))
    assert answer.output in ("EPERM", "ENOSYS"), answer


@pytest.mark.parametrize("limits", ["None", "(ctypes.c_ulong * 2)(64, 64)"])
async def test_programs_may_lower_and_read_their_own_limits(sandbox, run, limits):
    call = f"libc.prlimit(0, 7, {limits}, (ctypes.c_ulong * 2)())"
    answer = await run(sandbox, PYTHON.format(f"{ATTEMPT}attempt({call})"))
    assert answer.output == "worked"


@pytest.mark.parametrize("file", ["environ", "mem", "maps", "fd/3", "root/etc", "cwd"])
async def test_the_worker_cannot_be_read(sandbox, run, file):
    answer = await run(sandbox, f"cat /proc/1/{file} || ls /proc/1/{file}/")
    assert answer.code != 0
    assert "denied" in answer.output or "No such file" in answer.output


async def test_the_worker_cannot_be_killed(sandbox, run):
    await run(sandbox, "kill -9 1; kill -9 -1")
    assert (await run(sandbox, "echo alive")).output == "alive"


async def test_processes_of_this_machine_are_out_of_sight(sandbox, run):
    mark = f"98765.{uuid.uuid4().int % 10**9}"
    with subprocess.Popen(["sleep", mark]) as sleeper:
        try:
            answer = await run(sandbox, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
            listed = await run(sandbox, "ls /proc")
        finally:
            sleeper.kill()
    assert mark not in answer.output
    numbers = [int(word) for word in listed.output.split() if word.isdigit()]
    assert len(numbers) < 10


async def test_listeners_of_this_machine_cannot_be_reached(sandbox, run):
    name = f"oneseek-{uuid.uuid4().hex}"
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        abstract.bind(f"\0{name}")
        abstract.listen()
        program = f"""
import socket
for family, address in (
    (socket.AF_INET, ("127.0.0.1", {listener.getsockname()[1]})),
    (socket.AF_UNIX, "\\0{name}"),
):
    try:
        socket.socket(family).connect(address)
        print("connected")
    except OSError as error:
        print(error.strerror)
"""
        answer = await run(sandbox, PYTHON.format(program))
    assert answer.output.splitlines() == ["Connection refused", "Connection refused"]


async def test_the_network_is_off(sandbox, run):
    program = "import socket; socket.socket().connect(('192.0.2.1', 80))"
    answer = await run(sandbox, PYTHON.format(program))
    assert "Network is unreachable" in answer.output


async def test_the_environment_holds_nothing_of_the_server(sandbox, run):
    answer = await run(sandbox, "env")
    assert "PROVISIONER" not in answer.output
    names = {line.partition("=")[0] for line in answer.output.splitlines()}
    assert names <= {
        "HOME",
        "LANG",
        "LOGNAME",
        "PATH",
        "PWD",
        "PYTHONDONTWRITEBYTECODE",
        "PIP_BREAK_SYSTEM_PACKAGES",
        "PIP_RETRIES",
        "npm_config_fetch_retries",
        "TMPDIR",
        "USER",
        "SHLVL",
        "_",
        "OLDPWD",
    }


async def test_tmp_is_bounded(sandbox, run):
    answer = await run(sandbox, "head -c 40M /dev/zero > /tmp/full; stat -c %s /tmp/full")
    assert "No space left" in answer.output
    assert int(answer.output.split()[0]) <= 16 * 1024**2


@pytest.mark.finding(13)
@pytest.mark.parametrize("groups", [True, False], ids=["control groups", "none"])
@pytest.mark.parametrize("bomb", [":(){ :|:& };:", FORKING], ids=["shell", "python"])
async def test_a_sandbox_full_of_processes_works_on(
    make_runtime, labels, run, bomb, groups, monkeypatch
):
    if not groups:
        monkeypatch.setattr(cgroups, "find_parents", list)
    elif not cgroups.find_parents():
        pytest.skip("no control group can be written here")
    runtime = await make_runtime(memory_limit_mb=256, process_limit=100)
    sandbox = await runtime.create(labels())
    began = time.monotonic()
    await run(sandbox, f"echo kept > file; {bomb}", seconds=2)
    assert time.monotonic() - began < 2 + 20
    for _ in range(2):
        began = time.monotonic()
        answer = await run(sandbox, "cat file; ls; echo $(echo more)")
        assert (answer.code, answer.output) == (0, "kept\nfile\nmore")
        assert time.monotonic() - began < 20


async def test_a_fork_bomb_is_held_and_the_sandbox_works_on(sandbox, run):
    await run(sandbox, "bomb() { bomb | bomb; }; bomb", seconds=2)
    answer = await run(sandbox, "ls /proc | grep -c '^[0-9]'")
    assert answer.code == 0
    assert int(answer.output) < 10


async def test_more_memory_than_the_limit_is_refused_where_groups_can_be_written(
    runtime, sandbox, run
):
    program = "data = bytearray(400 * 1024**2); print('got', 'it')"
    answer = await run(sandbox, PYTHON.format(program))
    if any("memory" in parent.controllers for parent in cgroups.find_parents()):
        assert answer.code != 0
        assert "got it" not in answer.output
        assert "memory" in await runtime.explain(sandbox.uid, sandbox.name)
    else:
        checks = {check.name: check for check in await runtime.check()}
        assert not checks["memory limit"].passed
        assert checks["memory limit"].fix


async def test_as_root_every_sandbox_is_a_user_of_its_own(runtime, labels, home):
    made = [await runtime.create(labels(name)) for name in ("a", "b", "c")]
    users = {(home / "sandboxes" / sandbox.name / "workspace").stat().st_uid for sandbox in made}
    assert 0 not in users
    assert len(users) == (3 if os.geteuid() == 0 else 1)
