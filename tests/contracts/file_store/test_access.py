"""What lies in the way of the lease file: permissions, other kinds of file, locks, and disks."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import stat
import threading
import time

import pytest

from oneseek_sandbox.errors import (
    ConfigurationError,
    StoreUnavailableError,
)
from oneseek_sandbox.leases import book_file, private_files
from oneseek_sandbox.leases.file import FileLeaseStore
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.testing.leases import begin, make_ready

THREAD = Thread("tenant", "thread")


@contextlib.contextmanager
def locked(folder):
    """Hold the lock as another process would: with a descriptor of our own."""
    with (folder / "book.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def test_files_are_for_their_owner_only_whatever_the_umask(open_store, folder):
    umask = os.umask(0)
    try:
        await make_ready(await open_store())
    finally:
        os.umask(umask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"book": 0o600, "book.lock": 0o600}


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o640, 0o604], ids=oct)
async def test_a_file_that_others_can_reach_is_refused(open_store, book, mode):
    store = await open_store()
    await make_ready(store)
    book.chmod(mode)
    with pytest.raises(StoreUnavailableError, match="chmod 600"):
        await store.get(THREAD)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        await open_store()
    book.chmod(0o600)
    assert await store.get(THREAD)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_what_belongs_to_somebody_else_is_refused(open_store, folder, book):
    await make_ready(await open_store())
    os.chown(book, 12345, -1)
    with pytest.raises(ConfigurationError, match="by other users"):
        await open_store()
    os.chown(folder, 12345, -1)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        await open_store()


PLANTS = {
    "a symlink": lambda path, elsewhere: path.symlink_to(elsewhere),
    "a folder": lambda path, _: path.mkdir(),
    "a pipe": lambda path, _: os.mkfifo(path, 0o600),
}


@pytest.mark.parametrize("plant", PLANTS)
async def test_what_is_no_file_is_refused(open_store, book, tmp_path, plant):
    await make_ready(await open_store())
    book.rename(tmp_path / "elsewhere")
    PLANTS[plant](book, tmp_path / "elsewhere")
    async with asyncio.timeout(20):
        with pytest.raises(ConfigurationError, match=r"is (a symlink|not a regular file)\. Move"):
            await open_store()


async def test_a_home_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "home").write_text("a file")
    store = FileLeaseStore(tmp_path / "home")
    with pytest.raises(ConfigurationError, match="PROVISIONER_HOME"):
        await store.open()
    await store.close()


@pytest.mark.promise(8)
async def test_a_lock_that_another_process_keeps_is_an_error_soon_and_nothing_is_done_later(
    open_store, folder
):
    store = await open_store(patience_seconds=0.2)
    lease = await make_ready(store)
    with locked(folder):
        start = time.monotonic()
        calls = [store.acquire(Thread("tenant", str(number)), attempt="a") for number in range(30)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - start < 5, "one after another, they take 6 s"
        assert {type(answer) for answer in answers} == {StoreUnavailableError}
        assert "book.lock" in answers[0].message
        assert answers[0].retryable
        with pytest.raises(StoreUnavailableError):
            await open_store(patience_seconds=0.2)
        # Whoever only looks needs no lock.
        assert await store.get(THREAD) == lease
    assert (await store.acquire(THREAD, attempt="a")).lease.sandbox_id == lease.sandbox_id
    assert [lease.thread for lease in await store.leases()] == [THREAD]


async def test_calls_wait_for_a_lock_that_is_let_go_in_time(open_store, folder, monkeypatch):
    store = await open_store()
    refused = threading.Event()

    def try_lock(descriptor):
        taken = private_files.try_lock(descriptor)
        if not taken:
            refused.set()
        return taken

    monkeypatch.setattr(book_file, "try_lock", try_lock)
    with locked(folder):
        call = asyncio.create_task(begin(store))
        assert await asyncio.to_thread(refused.wait, 60)
        assert not call.done()
    async with asyncio.timeout(20):
        await call


async def test_a_disk_that_hangs_is_an_error_and_comes_back(open_store, monkeypatch):
    monkeypatch.setattr("oneseek_sandbox.leases.keeper._DISK_SECONDS", 0.1)
    store = await open_store(patience_seconds=0.1)
    answers = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _: answers.wait(60))
    start = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="does not respond"):
        await begin(store)
    assert time.monotonic() - start < 30
    answers.set()
    await begin(store, Thread("tenant", "other"))


async def test_the_lock_is_let_go_even_while_a_child_is_being_started(open_store, folder):
    """A child has copies of all descriptors until it becomes another program."""
    first, second = await open_store(), await open_store(patience_seconds=0.5)
    inherit = os.dup
    copies = []
    flock = fcntl.flock

    def copying(descriptor, how):
        flock(descriptor, how)
        if how & fcntl.LOCK_EX:
            copies.append(inherit(descriptor))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", copying)
        await begin(first)
    assert copies
    await begin(second, Thread("tenant", "other"))
    for copy in copies:
        os.close(copy)


async def test_a_full_disk_is_an_error_and_changes_nothing(open_store, folder, book, monkeypatch):
    store = await open_store()
    lease = await make_ready(store)
    kept = book.read_bytes()
    write = os.write

    def full(descriptor, data):
        if len(data) > 100:
            return write(descriptor, data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreUnavailableError, match="No space left on device"):
        await store.release(THREAD, sandbox_id=None)
    monkeypatch.undo()
    assert book.read_bytes() == kept
    assert {path.name for path in folder.iterdir()} == {"book", "book.lock"}
    assert await store.get(THREAD) == lease
