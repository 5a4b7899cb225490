"""Whoever has gone writes nothing and holds up nobody; what was begun is done or taken back whole."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.guest.client import TOKEN, Client, Refused, WorkerProcess, wait_until

from oneseek_sandbox.errors import SandboxUnavailableError
from oneseek_sandbox.leases.store import Lease, Placement, Thread
from oneseek_sandbox.workers import client as client_module
from oneseek_sandbox.workers.client import WorkerClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.finding(4)

HUGE = 1 << 40
"""Bytes of a sparse file that nobody reads to its end within a test."""
WAYS = ["write", "append", "replace"]


@pytest.fixture
def mode() -> str:
    """Only as in a sandbox: whose worker it is changes nothing about who waits for whom."""
    return "first"


@pytest.fixture
def huge(home: Path) -> Path:
    """A file whose check by `if_sha256` takes for ever."""
    path = home / "huge"
    path.touch()
    path.chmod(0o666)
    os.truncate(path, HUGE)
    return path


def ask(client: Client, path: Path, way: str, text: str = "late") -> socket.socket:
    """Send a whole request on a connection of its own and return that, without reading."""
    sock = client.connect()
    if way == "replace":
        body = json.dumps({"path": str(path), "old": "early", "new": text}).encode()
        head = client.raw_head("/replace", {"content-length": str(len(body))})
    else:
        body = text.encode()
        meta = {"path": str(path), **({} if way == "write" else {way: True})}
        headers = {"x-meta": json.dumps(meta), "content-length": str(len(body))}
        head = client.raw_head("/write", headers)
    sock.sendall(head + body)
    return sock


def hold(client: Client, path: Path) -> socket.socket:
    """Ask for a write whose precondition is looked at for ever, which holds the file's lock."""
    sock = client.connect()
    wrong = hashlib.sha256(b"other").hexdigest()
    meta = {"x-meta": json.dumps({"path": str(path), "if_sha256": wrong}), "content-length": "4"}
    sock.sendall(client.raw_head("/write", meta) + b"held")
    wait_until(lambda: any(name.startswith(".oneseek-") for name in os.listdir(path.parent)))
    client.call("/health", "GET")
    return sock


def is_noticed(sock: socket.socket) -> bool:
    """Wait until the worker closes a connection whose other side has said that it is done."""
    sock.shutdown(socket.SHUT_WR)
    sock.settimeout(20)
    try:
        return sock.recv(1) == b""
    except TimeoutError:
        return False


@pytest.mark.parametrize("way", WAYS)
def test_a_writer_whose_caller_leaves_the_queue_writes_nothing(
    client: Client, huge: Path, way: str
) -> None:
    holder = hold(client, huge)
    queued = ask(client, huge, way)
    client.call("/health", "GET")
    assert is_noticed(queued)
    holder.close()
    assert client.write(str(huge), b"early")["size"] == 5
    assert huge.read_bytes() == b"early"
    assert os.listdir(huge.parent) == ["huge"]


def test_a_holder_whose_caller_has_gone_lets_the_next_one_in(client: Client, huge: Path) -> None:
    holder = hold(client, huge)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.write, str(huge), b"next")
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        holder.close()
        assert waiting.result(20)["size"] == 4
    assert huge.read_bytes() == b"next"
    wait_until(lambda: os.listdir(huge.parent) == ["huge"])


def test_one_of_many_waiters_that_leaves_does_not_hold_up_the_others(
    client: Client, worker: WorkerProcess, huge: Path
) -> None:
    holder = hold(client, huge)
    leaving = [ask(client, huge, "append", "-") for _ in range(20)]
    staying = [worker.client() for _ in range(5)]
    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(each.write, str(huge), b"+") for each in staying]
        client.call("/health", "GET")
        assert all(is_noticed(sock) for sock in leaving)
        holder.close()
        assert [answer.result(20)["size"] for answer in answers] == [1] * 5
    assert huge.read_bytes() == b"+"


def test_a_replace_whose_caller_has_gone_leaves_the_file(client: Client, home: Path) -> None:
    text = b"early" + b"\n" * (60 << 20)
    client.write(f"{home}/file", text)
    sock = ask(client, home / "file", "replace")
    wait_until(lambda: len(os.listdir(home)) == 2)
    sock.close()
    wait_until(lambda: os.listdir(home) == ["file"])
    assert (home / "file").read_bytes() == text


@pytest.mark.parametrize(("filler", "length"), [(900_000, 250_000), (300_000, 600_000)])
def test_an_append_that_does_not_fit_is_taken_back(
    small_disk: WorkerProcess, filler: int, length: int
) -> None:
    client, home = small_disk.client(), small_disk.workspace
    client.write(f"{home}/file", b"old")
    client.execute(f"head -c {filler} /dev/zero > filler")
    for path, size in ((f"{home}/file", 3), (f"{home}/new", None)):
        with pytest.raises(Refused, match="disk_full"):
            client.write(path, b"x" * length, append=True)
        sizes = {e["path"]: e["size"] for e in client.call("/ls", path=str(home))["entries"]}
        assert sizes.get(path) == size


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file that another user owns")
def test_an_append_whose_mode_is_refused_is_taken_back(
    worker: WorkerProcess, mode: str, home: Path
) -> None:
    if mode == "root":
        pytest.skip("root may set any mode")
    (home / "file").write_bytes(b"old")
    (home / "file").chmod(0o666)
    with pytest.raises(Refused, match="permission_denied"):
        worker.client().write(f"{home}/file", b"new", append=True, mode="0600")
    assert (home / "file").read_bytes() == b"old"


@asynccontextmanager
async def a_client(worker: WorkerProcess) -> AsyncIterator[tuple[WorkerClient, Lease]]:
    """The server's own client, and a lease of this worker."""
    with Client(worker.address) as client:
        boot_id = client.prove()["boot_id"]
    placement = Placement("u", "n", f"unix:{worker.address}", TOKEN, "k", boot_id)
    lease = Lease(Thread("s", "t"), "0" * 32, 1, "ready", placement, 1, 1, 1, 1)
    workers = WorkerClient()
    try:
        yield workers, lease
    finally:
        await workers.close()


async def late(workers: WorkerClient, lease: Lease, path: Path, way: str) -> Any:
    """Change a file as the verbs do."""
    if way == "replace":
        return await workers.replace(lease, {"path": str(path), "old": "early", "new": "late"})
    meta = {"path": str(path), **({} if way in ("write", "stream") else {way: True})}

    async def pieces() -> AsyncIterator[bytes]:
        yield b"la"
        yield b"te"

    return await workers.write(lease, meta, pieces() if way == "stream" else b"late")


@pytest.mark.parametrize("ending", ["slow answer", "slow pieces", "cancelled", "cancelled twice"])
@pytest.mark.parametrize("way", [*WAYS, "stream"])
async def test_a_server_that_gives_up_hangs_up(
    client: Client,
    worker: WorkerProcess,
    huge: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    ending: str,
) -> None:
    for each in worker._clients:
        each.call("/health", "GET")  # the worker keeps connections that have shown the token
    holder = hold(client, huge)
    if ending == "slow answer":
        monkeypatch.setattr(client_module, "_ANSWER_SECONDS", 0.5)
    elif ending == "slow pieces":
        monkeypatch.setattr(client_module, "_WHOLE_ANSWER_SECONDS", 0.5)
    async with a_client(worker) as (workers, lease):
        kept = len(worker._clients) + 1
        await asyncio.to_thread(wait_until, lambda: connections(worker) == kept)
        task = asyncio.create_task(late(workers, lease, huge, way))
        await asyncio.to_thread(wait_until, lambda: connections(worker) > kept or task.done())
        if ending.startswith("cancelled") or (ending, way) == ("slow pieces", "stream"):
            task.cancel()
            if ending == "cancelled twice":
                await asyncio.sleep(0)
                task.cancel()
        with pytest.raises((SandboxUnavailableError, asyncio.CancelledError)):
            await task
        # The worker sees it go while the lock is held, so nothing of it can come later.
        await asyncio.to_thread(wait_until, lambda: connections(worker) == kept)
        holder.close()
        assert client.write(str(huge), b"early")["size"] == 5
        assert huge.read_bytes() == b"early"


def connections(worker: WorkerProcess) -> int:
    """Count the sockets that the worker has accepted."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(" " + worker.address) for line in lines) - 1  # the listening one
