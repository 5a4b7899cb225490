"""The worker's pure parts against plain reference implementations."""

from __future__ import annotations

import errno
import gc
import hashlib
import hmac
import os
import random
import re
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from oneseek_sandbox.guest.worker import once, output, spool
from oneseek_sandbox.guest.worker.base import STATUS, WorkerError
from oneseek_sandbox.guest.worker.command_spec import CommandSpec
from oneseek_sandbox.guest.worker.digest import hmac_sha256
from oneseek_sandbox.guest.worker.fields import Fields, parse_json
from oneseek_sandbox.guest.worker.kernel import SYSCALLS, seccomp_program
from oneseek_sandbox.guest.worker.once import OnceTable
from oneseek_sandbox.guest.worker.output import Capture
from oneseek_sandbox.guest.worker.paths import Workspace, decode_path, encode_path
from oneseek_sandbox.guest.worker.processes import Process, descendants
from oneseek_sandbox.guest.worker.reach import kernel_devices
from oneseek_sandbox.guest.worker.replacement import Replacement
from oneseek_sandbox.guest.worker.scheduler import Condition, Locks, Scheduler, sleep, turn
from oneseek_sandbox.guest.worker.spool import Spools
from oneseek_sandbox.guest.worker.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Iterator


def pieces(data: bytes, seed: int) -> list[bytes]:
    """Cut bytes at random places."""
    source = random.Random(seed)
    cuts = sorted(source.randrange(len(data) + 1) for _ in range(source.randrange(9)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def kept(capture: Capture, size: int) -> tuple[bytes, bytes]:
    """Return head and tail of a capture, read in parts of a size."""
    head = [capture.head(start, size) for start in range(0, capture.head_size, size)]
    tail = [capture.tail(start, size) for start in range(0, capture.tail_size, size)]
    return b"".join(head), b"".join(tail)


@pytest.fixture(params=["memory", "file"])
def spools(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Spools]:
    """Where captures keep their bytes; nothing of it is left when they are gone."""
    if request.param == "file":
        monkeypatch.setattr(spool, "MAX_MEMORY_BYTES", 100)
    spools = Spools((b"/nowhere", os.fsencode(tmp_path)))
    yield spools
    gc.collect()
    assert spools.in_memory == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 101, 1000])
def test_capture_keeps_exactly_head_and_tail(limit: int, spools: Spools) -> None:
    for seed in range(30):  # not as parameters: to look for garbage after each takes long
        data = random.Random(seed).randbytes(random.Random(seed).randrange(2500))
        capture = Capture(limit, spools)
        for piece in pieces(data, seed):
            capture.feed(piece)
        head, tail = kept(capture, 1 + seed)
        assert capture.total == len(data), seed
        if len(data) <= limit:
            assert head + tail == data, seed
        else:
            assert head == data[: (limit + 1) // 2], seed
            assert tail == (data[-(limit // 2) :] if limit > 1 else b""), seed


@pytest.mark.parametrize("room", [0, 150, 300, 420, 800])
def test_without_room_on_the_disk_a_capture_keeps_what_it_has_and_a_short_tail(
    room: int, spools: Spools, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes, position: int) -> int:
        if position + len(data) > room:
            raise OSError(errno.ENOSPC, "")
        return pwrite(fd, data, position)

    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr(output, "LOW_MEMORY_BYTES", 60)
    data = random.Random(room).randbytes(2500)
    capture = Capture(1000, spools)
    for start in range(0, 2500, 50):
        capture.feed(data[start : start + 50])
    head, tail = kept(capture, 7)
    assert capture.total == 2500
    assert data.startswith(head)
    assert data.endswith(tail)
    if len(head) + len(tail) < 1000:
        assert (len(head) >= min(room, 100), len(tail)) == (True, 60)


def test_many_captures_together_take_little_memory(spools: Spools) -> None:
    captures = [Capture(1_000_000, spools) for _ in range(100)]
    for capture in captures:
        capture.feed(b"x" * 100_000)
    assert spools.in_memory <= spool.MAX_SHARED_BYTES + 100_000
    assert all(kept(capture, 50_000)[0] == b"x" * 100_000 for capture in captures)


class Written(bytearray):
    """Stands where the worker's temporary file would."""

    def write(self, data: bytes) -> None:
        self.extend(data)


@pytest.mark.parametrize("seed", range(200))
def test_replacement_in_pieces_equals_replacement_of_the_whole(seed: int) -> None:
    source = random.Random(seed)
    data = bytes(source.choice(b"ab") for _ in range(source.randrange(300)))
    old = bytes(source.choice(b"ab") for _ in range(source.randrange(1, 6)))
    replacement, written = Replacement(old, b"<new>", every=True), Written()
    for piece in pieces(data, seed):
        replacement.feed(piece, written)
    replacement.close(written)
    assert replacement.count == data.count(old)
    assert written == data.replace(old, b"<new>")


@pytest.mark.parametrize("seed", range(200))
def test_survey_finds_lines_as_splitlines_does(seed: int) -> None:
    source = random.Random(seed)
    data = bytes(source.choice(b"a\n\r") for _ in range(source.randrange(60)))
    start = source.randrange(1, 12)
    end = source.choice([None, start + source.randrange(5)])
    survey = Survey(start, end)
    for piece in pieces(data, seed):
        if piece:
            survey.feed(piece)
    begin = survey.size if survey.begin is None else survey.begin
    stop = survey.size if survey.end is None else survey.end
    lines = data.split(b"\n")
    lines = [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    assert data[begin:stop] == b"".join(lines[start - 1 : end])
    assert survey.total_lines == len(lines)
    assert survey.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("key", [b"k", b"k" * 64, b"k" * 200])
def test_hmac_is_the_standard_one(key: bytes) -> None:
    assert hmac_sha256(key, b"message") == hmac.digest(key, b"message", "sha256")


def verdict(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Run a seccomp program as the kernel would."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=IIQ6Q", number, architecture, 0, *padded)
    steps = list(struct.iter_unpack("=HBBI", program))
    at, value = 0, 0
    while True:
        code, true, false, operand = steps[at]
        at += 1
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
        elif code == 0x54:
            value &= operand
        elif code == 0x15:
            at += true if value == operand else false
        else:
            return int(operand)


@pytest.mark.parametrize("machine", SYSCALLS)
def test_seccomp_refuses_others_limits_and_first_process_scheduling(machine: str) -> None:
    program = seccomp_program(machine)
    allow, refuse = 0x7FFF0000, 0x00050001
    pointer = 0x7FFF_0000_1000
    for architecture, prlimit, priority, scheduling in SYSCALLS[machine]:
        for number, arguments, expected in (
            (prlimit, (1, 7, pointer, 0), refuse),
            (prlimit, (99, 7, pointer, pointer), refuse),
            (prlimit, (99, 7, 1 << 32, 0), refuse),
            (prlimit, (1, 7, 0, pointer), allow),
            (prlimit, (0, 7, pointer, pointer), allow),
            (priority, (0, 1, 19), refuse),
            (priority, (1, 7, 19), refuse),
            (priority, (2, 0, 19), refuse),
            (priority, (0, 7, 19), allow),
            (priority, (0, 0, 19), allow),
            (0, (1, 1, 1), allow),
            *((number, (1, 8, pointer), refuse) for number in scheduling),
            *((number, (0, 8, pointer), allow) for number in scheduling),
            *((number, (scheduling[-1], 8, pointer), allow) for number in scheduling),
        ):
            assert verdict(program, architecture, number, *arguments) == expected
    assert verdict(program, 0x12345678, 302, 1, 7, pointer, 0) == allow


def test_seccomp_sees_through_the_x32_bit() -> None:
    program = seccomp_program("x86_64")
    assert verdict(program, 0xC000003E, 302 | 0x40000000, 1, 7, 4096, 0) == 0x00050001


@pytest.mark.parametrize("path", [b"/a", b"/\xff", "/ä".encode(), b"/a\nb", b"base64:x"])
def test_paths_go_there_and_back(path: bytes) -> None:
    if path.startswith(b"/"):
        assert decode_path(encode_path(path)) == path


@pytest.mark.parametrize(
    "text", ["a\0", "base64:YQBi", "base64:a", "base64:ä", "\ud800"], ids=ascii
)
def test_impossible_paths_are_refused(text: str) -> None:
    with pytest.raises(WorkerError) as refused:
        decode_path(text)
    assert refused.value.code == "invalid_request"


@pytest.mark.parametrize("swapped", ["dir", "dir/file"])
def test_a_name_that_turns_into_a_link_after_it_was_looked_at_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("secret")
    home = tmp_path / "home"
    (home / "dir").mkdir(parents=True)
    (home / "dir/file").write_text("text")
    workspace = Workspace(str(home))
    original = Workspace._look

    def look_then_swap(directory: int, name: bytes, *, make: bool) -> os.stat_result | None:
        info = original(directory, name, make=make)
        if name == os.fsencode(Path(swapped).name):
            (home / swapped).rename(tmp_path / "away")
            (home / swapped).symlink_to(tmp_path / "outside" / Path(swapped).relative_to("dir"))
        return info

    monkeypatch.setattr(Workspace, "_look", staticmethod(look_then_swap))
    with pytest.raises(
        (OSError, WorkerError), match=r"Not a directory|Too many levels|changed while"
    ):
        workspace.open_file(f"{home}/dir/file")


def test_every_status_is_the_one_of_the_error_tree() -> None:
    from oneseek_sandbox.errors import error_for_code

    own = {"bad_token", "claim_conflict", "restarted", "stale_generation", "unclaimed"}
    for code, status in STATUS.items():
        if code not in own:
            error = error_for_code(code)
            assert error is not None, code
            assert error.status == status, code


def test_json_with_huge_numbers_is_refused_quickly() -> None:
    started = time.monotonic()
    with pytest.raises(WorkerError):
        parse_json(b'{"a": ' + b"9" * 10_000_000 + b"}")
    assert time.monotonic() - started < 20


def test_fields_refuse_what_nobody_took() -> None:
    fields = Fields({"known": 1, "unknown": 2, "empty": None})
    fields.integer("known", 0, 5)
    with pytest.raises(WorkerError, match="unknown"):
        fields.close()


def test_request_ids_run_out_instead_of_being_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "MAX_REQUEST_IDS", 2)
    table = OnceTable()
    specs = [make_spec(f"id-{number}") for number in range(3)]
    for spec in specs[:2]:
        assert table.find(spec) is None
        table.record(spec, object())
    with pytest.raises(WorkerError) as refused:
        table.find(specs[2])
    assert refused.value.code == "request_ids_exhausted"
    assert table.find(specs[0]) is not None


def make_spec(request_id: str) -> CommandSpec:
    values = {"command": "true", "timeout_ms": 5, "max_output_bytes": 5, "request_id": request_id}
    return CommandSpec(Fields(values))


def process(parent: int, *, alive: bool = True) -> Process:
    state = "S" if alive else "Z"
    return Process(f"1 (a) b) {state} {parent} {'0 ' * 17}77 0".encode())


def test_descendants_leave_out_the_spared_and_what_is_below_them() -> None:
    table = {2: process(1), 3: process(2), 4: process(3), 5: process(1), 6: process(5, alive=False)}
    table |= {7: process(6), 8: process(99)}
    assert sorted(descendants(table, 1, set())) == [2, 3, 4, 5, 7]
    assert sorted(descendants(table, 1, {2})) == [5, 7]
    assert table[2].begin == 77


class Finished(Exception):  # noqa: N818
    """Ends a scheduler that otherwise runs for ever."""


def run(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, done: list[Any], count: int) -> None:
    original = scheduler._poll

    def poll() -> None:
        if len(done) >= count:
            raise Finished
        original()

    monkeypatch.setattr(scheduler, "_poll", poll)
    with pytest.raises(Finished):
        scheduler.run()


def test_tasks_wake_in_the_order_of_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, done = Scheduler(), []

    async def task(seconds: float) -> None:
        await sleep(seconds)
        done.append(seconds)

    for seconds in (0.03, 0.01, 0.02):
        scheduler.spawn(task(seconds))
    run(scheduler, monkeypatch, done, 3)
    assert done == [0.01, 0.02, 0.03]


def test_waits_that_ended_early_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, done = Scheduler(), []
    condition = Condition(scheduler)

    async def waiter() -> None:
        for _ in range(5000):
            await condition.wait(time.monotonic() + 600)
        done.append(len(scheduler._timers))

    async def notifier() -> None:
        while not done:
            condition.notify()
            await turn()

    scheduler.spawn(waiter())
    scheduler.spawn(notifier())
    run(scheduler, monkeypatch, done, 1)
    assert done[0] < 500


def test_a_fault_of_one_task_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scheduler, done = Scheduler(), []

    async def faulty() -> None:
        raise ValueError("a secret")

    async def sound() -> None:
        await sleep(0.01)
        done.append(1)

    scheduler.spawn(faulty())
    scheduler.spawn(sound())
    run(scheduler, monkeypatch, done, 1)
    message = capfd.readouterr().err
    assert re.search(r"ValueError at scheduler\.py:\d+ test_worker\.py:\d+\n", message)
    assert "secret" not in message


def test_a_lock_is_held_by_one_task_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, done = Scheduler(), []
    locks, inside = Locks(scheduler), []

    class Present:
        """A caller that does not leave."""

        async def wait_for(self, condition: Condition) -> None:
            await condition.wait()

    async def task(number: int) -> None:
        async with locks.held("key", Present()):
            inside.append(number)
            await sleep(0.001)
            assert inside == [number]
            inside.clear()
        done.append(number)

    for number in range(10):
        scheduler.spawn(task(number))
    run(scheduler, monkeypatch, done, 10)
    assert sorted(done) == list(range(10))


def test_the_devices_of_devtmpfs_are_found_among_the_mounts() -> None:
    mounts = (
        "24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,mode=755\n"
        "31 27 8:1 / / rw,relatime shared:1 master:2 - ext4 /dev/root rw\n"
        "32 24 0:21 / /dev/shm rw shared:7 - tmpfs tmpfs rw\n"
        "33 24 0:6 /null /dev/a\\040name rw - devtmpfs dev - rw\n"
    )
    assert kernel_devices(mounts) == {os.makedev(0, 6)}
