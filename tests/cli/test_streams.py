"""`exec` prints every byte, to readers of any speed, or says what is missing."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from oneseek_sandbox.testing.server import LiveServer

pytestmark = pytest.mark.finding(8)

PRINT = f"'{sys.executable}' -m oneseek_sandbox.cli exec -t pipes --timeout 120 -- "


@pytest.fixture(scope="module")
def server(request, new_server) -> LiveServer:
    return new_server(key="key-of-the-pipes", command=getattr(request, "param", None))


@pytest.fixture
def pipe(server):
    """Runs a shell line in which $EXEC runs its argument in the sandbox."""

    def run(line, seconds=120):
        environment = server.environment | {
            "ONESEEK_SANDBOX_URL": server.url,
            "ONESEEK_SANDBOX_KEY": server.key,
        }
        script = f'set -o pipefail\nEXEC() {{ {PRINT} "$@"; }}\n{line}'
        return subprocess.run(
            ["bash", "-c", script],
            env=environment,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )

    return run


def test_every_byte_comes_through_a_pipe(pipe):
    for _ in range(3):
        ran = pipe("EXEC 'head -c 900000 /dev/zero | tr \"\\0\" A' | wc -c")
        assert (ran.stdout, ran.stderr, ran.returncode) == (b"900000\n", b"", 0)


def test_every_byte_comes_to_a_reader_that_sleeps_first(pipe):
    ran = pipe("EXEC 'head -c 9000000 /dev/zero' | (sleep 3; sha256sum)")
    digest = hashlib.sha256(bytes(9_000_000)).hexdigest().encode()
    assert (ran.stdout.split()[0], ran.stderr, ran.returncode) == (digest, b"", 0)


def test_a_hundred_megabytes_come_whole_and_nobody_holds_them(pipe, server):
    before = peak_kibibytes(server.process.pid)
    ran = pipe("EXEC 'seq 12500000 | head -c 100000000' | sha256sum")
    numbers = hashlib.sha256()
    left = 100_000_000
    for start in range(1, 12_500_001, 100_000):
        text = b"".join(b"%d\n" % number for number in range(start, start + 100_000))[:left]
        numbers.update(text)
        left -= len(text)
        if not left:
            break
    assert (ran.stdout.split()[0].decode(), ran.stderr) == (numbers.hexdigest(), b"")
    assert peak_kibibytes(server.process.pid) - before < 60_000


def peak_kibibytes(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


@pytest.mark.parametrize(
    "server",
    [[sys.executable, str(Path(__file__).with_name("impatient_server.py"))]],
    indirect=True,
    ids=["three seconds"],
)
def test_a_reader_that_takes_nothing_for_long_ends_the_command(pipe):
    ran = pipe(
        "EXEC 'touch /workspace/up; yes; touch /workspace/after' | ("
        "until EXEC 'test -e up' </dev/null; do :; done; "
        "while EXEC 'pgrep -x yes' </dev/null >/dev/null; do sleep 0.2; done; wc -c)"
    )
    assert ran.returncode != 0
    assert b"ended the connection" in ran.stderr
    assert pipe("EXEC 'pgrep -x yes'").returncode == 1
    # The sandbox is none the worse for it.
    assert pipe("EXEC 'ls'").stdout == b"up\n"
