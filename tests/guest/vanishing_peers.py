"""Run in a fresh network namespace: sandboxes whose network goes away while they are asked something.

Each sandbox is a real worker in a network namespace of its own, behind a virtual cable. Prints one
line for each: how it went away, what the client was told, whether it may have run, and after how
many seconds.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from oneseek_sandbox.errors import SandboxUnavailableError
from oneseek_sandbox.guest.bundle import bundle
from oneseek_sandbox.leases.store import Lease, Placement, Thread
from oneseek_sandbox.workers.client import WorkerClient, WorkerNotReadyError

NEW_NET = 0x40000000
PORT = 8787
SECONDS = 60


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


class Sandbox:
    """A worker at an address behind a cable of its own."""

    def __init__(self, number, folder):
        self.address = f"203.0.113.{number}"
        self._router = f"198.51.{number}.2"
        (made, says_made), (go, self._go) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            ctypes.CDLL(None).unshare(NEW_NET)
            os.write(says_made, b"x")
            os.read(go, 1)
            workspace = folder / str(number)
            workspace.mkdir()
            program = folder / f"{number}.py"
            program.write_bytes(bundle("worker"))
            os.execv(
                sys.executable,
                [
                    *(sys.executable, "-ISE", str(program)),
                    *("--listen", f"{self.address}:{PORT}", "--workspace", str(workspace)),
                ],
            )
        os.read(made, 1)
        near, far = f"near{number}", f"far{number}"
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", str(self.pid))
        ip("addr", "add", f"198.51.{number}.1/24", "dev", near)
        ip("link", "set", near, "up")
        self.inside("addr", "add", f"{self._router}/24", "dev", far)
        self.inside("link", "set", far, "up")
        self.inside("link", "set", "lo", "up")
        self.inside("addr", "add", f"{self.address}/32", "dev", "lo")
        self.inside("route", "add", "default", "via", f"198.51.{number}.1")
        self.lead_here(self.address)
        os.write(self._go, b"x")

    def inside(self, *arguments):
        subprocess.run(["nsenter", "--net", f"--target={self.pid}", "ip", *arguments], check=True)

    def lead_here(self, address):
        ip("route", "replace", address, "via", self._router)

    def forward(self):
        """Let the far end say that nobody has an address, as a router does."""
        command = ["nsenter", "--net", f"--target={self.pid}", "sh", "-c"]
        subprocess.run([*command, "echo 1 > /proc/sys/net/ipv4/ip_forward"], check=True)

    async def claimed(self, workers):
        """Return a lease of it."""
        token = self.address * 4
        async with asyncio.timeout(30):
            while True:
                try:
                    claimed = await workers.claim(
                        f"tcp:{self.address}:{PORT}", token=token, generation=1, idle_ms=900_000
                    )
                    break
                except WorkerNotReadyError:
                    await asyncio.sleep(0.05)
        placement = Placement(
            self.address, "x", f"tcp:{self.address}:{PORT}", token, "k", claimed.boot_id
        )
        now = int(1000 * time.time())
        return Lease(
            Thread("default", "t"), "0" * 32, 1, "ready", placement, 900_000, now, now, now
        )


def silent(sandbox, other):
    sandbox.inside("addr", "del", f"{sandbox.address}/32", "dev", "lo")


def unreachable(sandbox, other):
    sandbox.forward()
    sandbox.inside("addr", "del", f"{sandbox.address}/32", "dev", "lo")
    sandbox.inside("route", "add", "unreachable", sandbox.address)


def another(sandbox, other):
    """Give its address to another sandbox, which knows nothing of its connections."""
    other.inside("addr", "add", f"{sandbox.address}/32", "dev", "lo")
    other.lead_here(sandbox.address)


def paused(sandbox, other):
    """Not gone: a worker that gets no time to run for a while."""
    os.kill(sandbox.pid, signal.SIGSTOP)
    asyncio.get_running_loop().call_later(13, os.kill, sandbox.pid, signal.SIGCONT)


def nothing(sandbox, other):
    """Not gone: a command that prints nothing for a while."""


async def execute(workers, lease, command, *, stream):
    request = {
        "command": command,
        "timeout_ms": 1000 * SECONDS,
        "grace_ms": 1000,
        "max_output_bytes": 10_000,
        "stream": stream,
    }
    async for _ in workers.execute(lease, request):
        pass


async def asked(how, sandbox, other, *, stream=False, before=False):
    workers = WorkerClient()
    lease = await sandbox.claimed(workers)
    command = "sleep 15" if how in (paused, nothing) else f"sleep {SECONDS}"
    await workers.health(lease)  # leaves a connection in the pool
    if before:
        how(sandbox, other)
    begun = time.monotonic()
    running = asyncio.create_task(execute(workers, lease, command, stream=stream))
    if not before:
        watching = WorkerClient()
        while (await watching.health(lease)).commands == 0:
            await asyncio.sleep(0.05)
        how(sandbox, other)
        begun = time.monotonic()
    try:
        await running
        told = "an end"
    except SandboxUnavailableError as error:
        told = f"unavailable may_have_run={error.may_have_run}"
    seconds = time.monotonic() - begun
    name = how.__name__ + ("-streamed" if stream else "") + ("-before" if before else "")
    print(f"{name}: {told} after {seconds:.1f}", flush=True)


async def main():
    ip("link", "set", "lo", "up")
    with tempfile.TemporaryDirectory() as folder:
        sandboxes = [Sandbox(number, Path(folder)) for number in range(1, 9)]
        other = sandboxes[-1]
        try:
            await asyncio.gather(
                asked(silent, sandboxes[0], other),
                asked(silent, sandboxes[1], other, stream=True),
                asked(silent, sandboxes[2], other, before=True),
                asked(unreachable, sandboxes[3], other, stream=True),
                asked(another, sandboxes[4], other),
                asked(paused, sandboxes[5], other),
                asked(nothing, sandboxes[6], other, stream=True),
            )
        finally:
            for sandbox in sandboxes:
                os.kill(sandbox.pid, signal.SIGKILL)


asyncio.run(main())
