"""What only a store in a file can get wrong: races, kills between two steps, and what disks do."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import stat
import sys
import threading
import time
from pathlib import Path

import pytest

from oneseek_sandbox.errors import (
    ConfigurationError,
    LeaseNotFoundError,
    SandboxExpiredError,
    StoreUnavailableError,
)
from oneseek_sandbox.leases import book_file, private_files
from oneseek_sandbox.leases.file import FileLeaseStore
from oneseek_sandbox.leases.store import Busy, LeaseTerms, Thread
from oneseek_sandbox.testing.clock import FakeClock
from oneseek_sandbox.testing.leases import LONG, begin, make_ready, placement

THREAD = Thread("tenant", "thread")
RACER = Path(__file__).with_name("racing_acquirer.py")
WRITER = Path(__file__).with_name("dying_writer.py")


@pytest.fixture
async def open_store(tmp_path):
    async with contextlib.AsyncExitStack() as stack:

        async def open_store(terms=LONG, **options):
            store = FileLeaseStore(tmp_path, terms, **options)
            stack.push_async_callback(store.close)
            await store.open()
            return store

        yield open_store


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "leases"


@pytest.fixture
def book(folder):
    return folder / "book"


@contextlib.contextmanager
def locked(folder):
    """Hold the lock as another process would: with a descriptor of our own."""
    with (folder / "book.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def run(program, *arguments):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(program), *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


@pytest.mark.promise(1)
async def test_of_200_acquires_in_several_processes_and_threads_one_creates_each_sandbox(tmp_path):
    children = [await run(RACER, 3, "file", tmp_path) for _ in range(4)]
    async with asyncio.timeout(60):
        for child in children:
            assert await child.stdout.readline() == b"ready\n"
        outputs = await asyncio.gather(*(child.communicate(b"go\n") for child in children))
    outcomes = b" ".join(output for output, _ in outputs).split()
    assert len(outcomes) == 200
    for thread in (b"0", b"1", b"2"):
        assert outcomes.count(thread + b":Creation") == 1
        assert outcomes.count(thread + b":Busy") > 60


@pytest.mark.promise(3)
async def test_generations_grow_over_all_processes(open_store):
    stores = [await open_store() for _ in range(4)]

    async def generations(number, store):
        return [
            (await begin(store, Thread(str(number), str(turn)))).generation for turn in range(20)
        ]

    found = await asyncio.gather(*(generations(*each) for each in enumerate(stores)))
    assert len({generation for each in found for generation in each}) == 80
    assert all(each == sorted(each) for each in found)


ENDS = {
    "commit": lambda store, creation: store.commit(creation, placement()),
    "abandon": lambda store, creation: store.abandon(creation),
    "release": lambda store, creation: store.release(creation.thread, sandbox_id=None),
}


@pytest.mark.promise(1)
@pytest.mark.parametrize("end", ENDS)
async def test_waiters_of_other_processes_wake_by_looking(open_store, end):
    creator, waiter = await open_store(), await open_store()
    creation = await begin(creator)
    waits = asyncio.create_task(waiter.wait(THREAD, 30_000))
    assert isinstance(await waiter.acquire(THREAD, attempt="b"), Busy)
    await ENDS[end](creator, creation)
    async with asyncio.timeout(20):
        await waits


@pytest.mark.promise(1)
async def test_waiters_of_the_same_process_wake_by_notice(open_store, monkeypatch):
    # So rarely that looking cannot be what wakes them.
    monkeypatch.setattr("oneseek_sandbox.leases.file._LOOK_MS", 30_000)
    store = await open_store()
    for end in ENDS.values():
        creation = await begin(store)
        waits = asyncio.create_task(store.wait(THREAD, 30_000))
        await store.get(THREAD)
        await end(store, creation)
        async with asyncio.timeout(20):
            await waits
        with contextlib.suppress(LeaseNotFoundError):
            await store.release(THREAD, sandbox_id=None)


STEPS = ["lock", "write", "sync", "replace", "sync-folder", "unlock"]
DEATHS = [(moment, step) for step in STEPS for moment in ("before", "after")]
DEATHS.insert(3, ("half", "write"))
KEPT_FROM = DEATHS.index(("after", "replace"))


@pytest.mark.promise(8)
@pytest.mark.parametrize(("moment", "step"), DEATHS)
async def test_a_writer_killed_at_any_step_leaves_the_state_of_before_or_after(
    tmp_path, open_store, folder, moment, step
):
    writer = await run(WRITER, tmp_path, moment, step)
    async with asyncio.timeout(30):
        output, _ = await writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    (first,) = output.decode().split()
    store = await open_store(patience_seconds=0)  # nobody has to wait for the lock of the dead
    kept = {lease.thread.thread_id: lease for lease in await store.leases()}
    assert (kept["first"].sandbox_id, kept["first"].placement.uid) == (first, "u1")
    applied = DEATHS.index((moment, step)) >= KEPT_FROM
    assert set(kept) == ({"first", "second"} if applied else {"first"})
    assert {path.name for path in folder.iterdir()} == {"book", "book.lock"}
    await make_ready(store, Thread("tenant", "third"))


@pytest.mark.promise(8)
async def test_killing_writers_loses_no_acknowledged_commit(tmp_path, open_store):
    acknowledged = set()
    for round_ in range(4):
        writers = [await run(WRITER, tmp_path, "never", "never") for _ in range(2)]
        async with asyncio.timeout(60):
            for _ in range(3 + 2 * round_):
                for writer in writers:
                    acknowledged.add((await writer.stdout.readline()).decode().strip())
        for writer in writers:
            writer.kill()
        for writer in writers:
            rest, _ = await writer.communicate()
            # A line that is not whole was not told.
            acknowledged |= set(rest.decode().split("\n")[:-1])
    store = await open_store()
    assert len(acknowledged) > 40
    assert acknowledged <= {lease.sandbox_id for lease in await store.leases()}


async def test_leftovers_of_dead_writers_are_removed_at_the_next_start(open_store, folder):
    await open_store()
    (folder / "book.new").write_bytes(b"half a bo")
    await open_store()
    assert [path.name for path in folder.iterdir()] == ["book.lock"]


async def test_leftovers_of_dead_writers_are_in_nobodys_way(open_store, folder, tmp_path):
    store = await open_store()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (folder / "book.new").symlink_to(victim)
    lease = await make_ready(store)
    assert victim.read_text() == "precious"
    assert not (folder / "book.new").exists()
    assert await (await open_store()).get(THREAD) == lease


TEARS = {
    "empty": lambda data: b"",
    "cut in the first line": lambda data: data[:40],
    "cut in the middle": lambda data: data[: len(data) // 2],
    "cut at the end": lambda data: data[:-1],
    "a byte turned": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    "zeros as a power cut leaves them": lambda data: b"\0" * len(data),
    "somebody else's": lambda data: b'{"leases": []}\n',
}


@pytest.mark.promise(8)
@pytest.mark.parametrize("tear", TEARS)
async def test_a_torn_file_is_refused_and_named_and_never_taken_for_an_empty_store(
    open_store, book, tear
):
    store = await open_store()
    await make_ready(store)
    torn = TEARS[tear](book.read_bytes())
    book.write_bytes(torn)
    for call in (store.get(THREAD), store.acquire(THREAD, attempt="a"), store.leases()):
        with pytest.raises(StoreUnavailableError, match="Move it away") as caught:
            await call
        assert str(book) in caught.value.message
    with pytest.raises(ConfigurationError, match="adopted from their labels") as caught:
        await open_store()
    assert str(book) in caught.value.message
    assert book.read_bytes() == torn, "it may be fixed yet"
    book.rename(book.with_name("torn"))
    await begin(store)
    await begin(await open_store(), Thread("tenant", "other"))


@pytest.mark.promise(8)
async def test_many_calls_at_once_all_hear_of_a_torn_file(open_store, book):
    store = await open_store()
    await make_ready(store)
    book.write_bytes(b"")
    calls = [store.acquire(THREAD, attempt=str(number)) for number in range(20)]
    async with asyncio.timeout(20):
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailableError}


@pytest.mark.promise(3)
async def test_generations_grow_after_the_file_was_moved_away(open_store, book, caplog):
    store = await open_store()
    before = await begin(store)
    book.unlink()
    async with asyncio.timeout(60):
        while time.time() * 1000 <= before.generation + 1:  # a new file has only the time to go by
            await asyncio.sleep(0.001)
    after = await begin(store)
    assert after.generation > before.generation
    assert f"{book} is gone" in caplog.text


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


async def test_what_changes_nothing_writes_nothing(open_store, folder, book):
    store = await open_store()
    with pytest.raises(LeaseNotFoundError):
        await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=1)
    assert await store.expire(10)
    assert not book.exists()
    lease = await make_ready(store)
    await store.once("sweep", 60_000)
    before = book.stat()
    await store.get(THREAD)
    await store.leases()
    await store.doomed(10)
    await store.doomed_among(["u"])
    await store.resolve(lease.sandbox_id)
    await store.wait(THREAD, 1000)
    await store.clear(lease)
    await store.forget("nobody")
    assert not await store.once("sweep", 60_000)
    with pytest.raises(LeaseNotFoundError):
        await store.resolve("0" * 32)
    after = book.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_what_a_refused_call_changed_is_kept(open_store):
    clock = FakeClock()
    store = await open_store(LeaseTerms(60_000, idle_ms=100), clock=clock)
    lease = await make_ready(store, uid="u1")
    clock.advance(100)
    with pytest.raises(SandboxExpiredError):
        await store.pin(THREAD, sandbox_id=lease.sandbox_id, pin_id="p", limit_ms=10)
    other = await open_store(LeaseTerms(60_000, idle_ms=100), clock=clock)
    assert [entry.uid for entry in await other.doomed(10)] == ["u1"]
    assert await other.leases() == []


async def test_a_hundred_calls_at_once_cost_few_rewrites(open_store, monkeypatch):
    store = await open_store()
    syncs = []
    monkeypatch.setattr(os, "fsync", syncs.append)
    await asyncio.gather(*(make_ready(store, Thread("t", str(number))) for number in range(100)))
    # Two for each rewrite: the file and its folder. One by one it would be 400.
    assert len(syncs) < 60
    assert len(await store.leases()) == 100


async def test_a_call_given_up_midway_does_not_mix_up_the_answers_of_others(open_store):
    store = await open_store()
    threads = [Thread("tenant", str(number)) for number in range(20)]
    for thread in threads:
        await make_ready(store, thread)
    for delay in [0.0, 0.0002, 0.0005, 0.001, 0.002, 0.004] * 5:
        calls = [
            asyncio.create_task(store.pin(thread, sandbox_id=None, pin_id="p", limit_ms=60_000))
            for thread in threads
        ]
        await asyncio.sleep(delay)
        for call in calls[::2]:
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for thread, answer in zip(threads, answers, strict=True):
            assert isinstance(answer, asyncio.CancelledError) or answer.thread == thread


async def test_a_fault_of_ours_is_told_and_leaves_the_store_as_it_was(open_store, monkeypatch):
    store = await open_store()
    lease = await make_ready(store)

    def broken(book, lease, *, now_ms):
        book.records.clear()
        raise ZeroDivisionError

    monkeypatch.setattr("oneseek_sandbox.leases.book.LeaseBook.lose", broken)
    with pytest.raises(ZeroDivisionError):
        await store.lose(lease)
    assert await store.get(THREAD) == lease


async def test_a_store_that_is_closed_says_so(open_store):
    store = await open_store()
    await store.close()
    with pytest.raises(StoreUnavailableError, match="has closed its lease store"):
        await store.get(THREAD)
