"""With `sync`, a file and every name on its way are on the disk before the answer."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.guest.client import TOKEN, Client, Refused, WorkerProcess, worker_process
from tests.guest.conftest import start_in_mode

from oneseek_sandbox.errors import SandboxTooOldError
from oneseek_sandbox.leases.store import Lease, Placement, Thread
from oneseek_sandbox.workers.client import WorkerClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.finding(5)

MEBIBYTE = 1 << 20
LOADED = """
import importlib.util, json, os, stat
folder = os.path.dirname(__file__)
spec = importlib.util.spec_from_file_location("worker", os.path.join(folder, "original.py"))
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
"""
# What a sync finds is what it puts on the disk: the bytes of a file, the names in a directory.
WATCHED = f"""{LOADED}
def watched(sync):
    def found(fd):
        info = os.fstat(fd)
        names = os.listdir(fd) if stat.S_ISDIR(info.st_mode) else None
        sync(fd)
        told = {{"file": info.st_ino, "size": info.st_size, "names": names}}
        line = json.dumps({{**told, "mode": info.st_mode & 0o777}}).encode() + b"\\n"
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(log, line)
        os.close(log)
    return found
path = os.path.join(folder, "workspace.synced")
open(path, "x").close()
os.fsync, os.fdatasync = watched(os.fsync), watched(os.fdatasync)
worker.main()
"""
# As workers were before they could sync.
EARLIER = f"""{LOADED}
flag = worker.Fields.flag
worker.Fields.flag = lambda fields, name: name != "sync" and flag(fields, name)
worker.main()
"""


class Watched:
    """A claimed worker, and what it has synced."""

    def __init__(self, process: WorkerProcess) -> None:
        self.home = process.workspace
        self.client = process.client()
        self.client.claim()
        self._log = process.folder / "workspace.synced"

    def synced(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def is_on_disk(self, path: Path) -> bool:
        """Whether a file, and each name from the workspace to it, is there since a sync."""
        info = path.stat()
        whole = (info.st_ino, info.st_size, info.st_mode & 0o777)
        found = self.synced()
        if not any((each["file"], each["size"], each["mode"]) == whole for each in found):
            return False
        below = path
        while below != self.home:
            parent = below.parent.stat().st_ino
            if not any(each["file"] == parent and below.name in each["names"] for each in found):
                return False
            below = below.parent
        return True


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    wrapper = tmp_path / "watched.py"
    wrapper.write_text(WATCHED)
    with worker_process(wrapper=wrapper) as process:
        yield Watched(process)


def pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // MEBIBYTE):
        yield b"x" * MEBIBYTE


WAYS: dict[str, Callable[..., Any]] = {
    "whole": lambda client, path, **more: client.write(path, b"written", **more),
    "with a mode": lambda client, path, **more: client.write(path, b"-", mode="0700", **more),
    "append": lambda client, path, **more: client.write(path, b"added", append=True, **more),
    "append of a stream": lambda client, path, **more: client.write(
        path, pieces(2 * MEBIBYTE), append=True, **more
    ),
    "stream": lambda client, path, **more: client.write(path, pieces(20 * MEBIBYTE), **more),
}


@pytest.mark.parametrize("before", [None, b"of before"])
@pytest.mark.parametrize("way", WAYS)
def test_a_synced_file_and_its_names_are_on_the_disk(
    watched: Watched, way: str, before: bytes | None
) -> None:
    path = watched.home / "new/below/file"
    if before is not None:
        watched.client.write(str(path), before)
    assert watched.synced() == []
    WAYS[way](watched.client, str(path), sync=True)
    assert watched.is_on_disk(path)


def test_a_file_that_is_only_created_is_on_the_disk(watched: Watched) -> None:
    path = watched.home / "new/file"
    watched.client.write(str(path), b"first", create_only=True, sync=True)
    assert watched.is_on_disk(path)


def test_what_a_link_leads_to_is_on_the_disk(watched: Watched) -> None:
    watched.client.execute("mkdir far && ln -s far near")
    watched.client.write(f"{watched.home}/near/file", b"text", sync=True)
    assert watched.is_on_disk(watched.home / "far/file")


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_synced_unasked(watched: Watched, way: str) -> None:
    WAYS[way](watched.client, f"{watched.home}/new/file")
    WAYS[way](watched.client, f"{watched.home}/new/file", sync=False)
    assert watched.synced() == []


@pytest.mark.parametrize("append", [False, True])
def test_no_single_sync_waits_for_much(watched: Watched, append: bool) -> None:
    path = watched.home / "file"
    watched.client.write(str(path), pieces(40 * MEBIBYTE), append=append, sync=True)
    inode = path.stat().st_ino
    sizes = [each["size"] for each in watched.synced() if each["file"] == inode]
    steps = [after - before for before, after in zip([0, *sizes], sizes, strict=False)]
    assert max(steps) <= 9 * MEBIBYTE
    assert sizes[-1] == 40 * MEBIBYTE


@pytest.mark.parametrize("append", [False, True])
def test_a_name_that_cannot_be_synced_is_refused_before_anything_is_written(append: bool) -> None:
    with start_in_mode("user") as process:
        client, home = process.client(), process.workspace
        client.claim()
        client.execute("mkdir closed && echo old > closed/file && chmod 300 closed")
        with pytest.raises(Refused, match="permission_denied"):
            client.write(f"{home}/closed/file", b"new", append=append, sync=True)
        client.execute("chmod 700 closed")
        assert client.execute("cat closed/*; ls -A closed")["stdout"] == b"old\nfile\n"


def test_a_sync_is_asked_for_by_true_or_false(steady: Client, steady_home: Path) -> None:
    with pytest.raises(Refused, match="invalid_request: sync"):
        steady.write(f"{steady_home}/unsure", b"", sync="yes")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_worker_of_before_is_too_old_to_sync(tmp_path: Path, streamed: bool) -> None:
    wrapper = tmp_path / "earlier.py"
    wrapper.write_text(EARLIER)
    with worker_process(wrapper=wrapper) as process:
        boot_id = process.client().claim()["boot_id"]
        placement = Placement("u", "n", f"unix:{process.address}", TOKEN, "k", boot_id)
        lease = Lease(Thread("s", "t"), "0" * 32, 1, "ready", placement, 1, 1, 1, 1)
        path = process.workspace / "new/file"

        async def stream() -> Any:
            for piece in pieces(4 * MEBIBYTE):
                yield piece

        workers = WorkerClient()
        write = partial(workers.write, lease)
        try:
            with pytest.raises(SandboxTooOldError, match="does not know 'sync'"):
                await write({"path": str(path), "sync": True}, stream() if streamed else b"text")
            assert not path.parent.exists()
            with pytest.raises(SandboxTooOldError, match="does not know 'later'"):
                await write({"path": str(path), "later": True}, b"text")
            written = await write({"path": str(path)}, b"text")
            assert written.sha256 == hashlib.sha256(b"text").hexdigest()
        finally:
            await workers.close()


# The first sync waits until it is let through.
HELD = f"""{LOADED}
def held(sync):
    def wait(fd):
        while os.path.exists(os.path.join(folder, "workspace", "held")):
            time.sleep(0.01)
        sync(fd)
    return wait
import time
os.fsync = held(os.fsync)
worker.main()
"""


@pytest.mark.parametrize("append", [False, True])
def test_a_slow_disk_holds_up_nobody_but_its_caller(tmp_path: Path, append: bool) -> None:
    wrapper = tmp_path / "held.py"
    wrapper.write_text(HELD)
    with worker_process(wrapper=wrapper) as process:
        client, other = process.client(), process.client()
        client.claim()
        held = process.workspace / "held"
        held.touch()
        path = process.workspace / "file"
        with ThreadPoolExecutor() as pool:
            writing = pool.submit(client.write, str(path), b"text", sync=True, append=append)
            for _ in range(5):
                assert other.execute("echo on")["stdout"] == b"on\n"
                assert set(other.call("/health", "GET").values()) == {0}
            assert not writing.done()
            held.unlink()
            assert writing.result(30)["size"] == 4
        assert path.read_bytes() == b"text"


def test_who_kills_or_stops_the_sync_gains_nothing(watched: Watched) -> None:
    path = watched.home / "file"
    kills = "while :; do pkill -STOP -x sandbox-sync; pkill -KILL -x sandbox-sync; done"
    hunter = watched.client.start(kills, timeout_ms=60_000)
    for number in range(20):
        watched.client.write(str(path), b"%d" % number, sync=True)
        assert watched.is_on_disk(path)
    hunter.close()
