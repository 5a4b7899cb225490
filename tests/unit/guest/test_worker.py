"""The worker's pure parts against plain reference implementations."""

from __future__ import annotations

import hashlib
import hmac
import os
import random
import struct
import time
from pathlib import Path

import pytest
from tests.unit.guest.cutting import pieces

from oneseek_sandbox.guest.worker import once
from oneseek_sandbox.guest.worker.base import STATUS, WorkerError
from oneseek_sandbox.guest.worker.command_spec import CommandSpec
from oneseek_sandbox.guest.worker.digest import hmac_sha256
from oneseek_sandbox.guest.worker.fields import Fields, parse_json
from oneseek_sandbox.guest.worker.kernel import SYSCALLS, seccomp_program
from oneseek_sandbox.guest.worker.once import OnceTable
from oneseek_sandbox.guest.worker.paths import Workspace, decode_path, encode_path
from oneseek_sandbox.guest.worker.processes import Process, descendants
from oneseek_sandbox.guest.worker.reach import kernel_devices
from oneseek_sandbox.guest.worker.replacement import Replacement
from oneseek_sandbox.guest.worker.survey import Survey


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


def test_the_devices_of_devtmpfs_are_found_among_the_mounts() -> None:
    mounts = (
        "24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,mode=755\n"
        "31 27 8:1 / / rw,relatime shared:1 master:2 - ext4 /dev/root rw\n"
        "32 24 0:21 / /dev/shm rw shared:7 - tmpfs tmpfs rw\n"
        "33 24 0:6 /null /dev/a\\040name rw - devtmpfs dev - rw\n"
    )
    assert kernel_devices(mounts) == {os.makedev(0, 6)}
