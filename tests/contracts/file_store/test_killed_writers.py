"""A writer may be killed between any two steps, and leave anything behind."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest
from tests.contracts.file_store.programs import WRITER, run

from oneseek_sandbox.errors import (
    ConfigurationError,
    StoreUnavailableError,
)
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.testing.leases import begin, make_ready

THREAD = Thread("tenant", "thread")


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
