"""What is written is read, by ranges and by paths that lead nowhere else."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.guest.calls import names, refusal, sha256
from tests.guest.client import Client, Refused, WorkerProcess

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_written_is_read(client: Client, home: Path) -> None:
    data = bytes(range(256)) + b"\r\n\xff" * 200_000
    answer = client.write(f"{home}/deep/er/file", data)
    assert answer == {"size": len(data), "sha256": sha256(data), "created": True}
    meta, read = client.read(f"{home}/deep/er/file")
    assert read == data
    assert (meta["size"], meta["sha256"], meta["truncated"]) == (len(data), sha256(data), False)
    assert client.write(f"{home}/deep/er/file", b"")["created"] is False
    assert client.read(f"{home}/deep/er/file") == (
        {"size": 0, "sha256": sha256(b""), "total_lines": 0, "truncated": False},
        b"",
    )


def test_a_chunked_body_is_written(client: Client, home: Path) -> None:
    pieces = [b"a" * 100_000, b"b", b"c" * 300_000]
    assert client.write(f"{home}/file", iter(pieces))["size"] == 400_001
    assert client.read(f"{home}/file")[1] == b"".join(pieces)


TEXT = b"one\ntwo\n\nfour\nlast without newline"


@pytest.mark.parametrize(
    ("fields", "expected", "truncated"),
    [
        ({}, TEXT, False),
        ({"start_line": 2}, b"two\n\nfour\nlast without newline", False),
        ({"start_line": 2, "end_line": 3}, b"two\n\n", False),
        ({"end_line": 1}, b"one\n", False),
        ({"start_line": 5, "end_line": 5}, b"last without newline", False),
        ({"start_line": 5, "end_line": 99}, b"last without newline", False),
        ({"start_line": 6}, b"", False),
        ({"start_line": 3, "end_line": 2}, b"", False),
        ({"offset": 4, "limit": 3}, b"two", True),
        ({"offset": 4}, TEXT[4:], False),
        ({"offset": 4000, "limit": 5}, b"", False),
        ({"limit": 4}, b"one\n", True),
        ({"limit": len(TEXT)}, TEXT, False),
        ({"start_line": 2, "end_line": 4, "limit": 5}, b"two\n\n", True),
        ({"start_line": 2, "end_line": 3, "limit": 5}, b"two\n\n", False),
    ],
    ids=str,
)
def test_ranges(
    steady: Client, steady_home: Path, fields: dict[str, int], expected: bytes, truncated: bool
) -> None:
    steady.write(f"{steady_home}/file", TEXT)
    meta, data = steady.read(f"{steady_home}/file", **fields)
    assert (data, meta["truncated"]) == (expected, truncated)
    assert (meta["size"], meta["sha256"], meta["total_lines"]) == (len(TEXT), sha256(TEXT), 5)


def test_ranges_of_a_file_longer_than_a_chunk(client: Client, home: Path) -> None:
    lines = [b"%d %s\n" % (number, b"x" * (number % 90)) for number in range(40_000)]
    data = b"".join(lines)
    client.write(f"{home}/file", data)
    meta, read = client.read(f"{home}/file", start_line=20_001, end_line=30_000)
    assert read == b"".join(lines[20_000:30_000])
    assert meta["total_lines"] == 40_000
    assert client.read(f"{home}/file", offset=262_143, limit=2)[1] == data[262_143:262_145]


@pytest.mark.parametrize(
    "path",
    ["", "relative", "/etc/passwd", "{0}/../x", "{0}/a/../../x", "{0}x/y", "/", "{0}/.."],
)
def test_paths_outside_are_refused(steady: Client, steady_home: Path, path: str) -> None:
    path = path.format(steady_home)
    for call in (
        lambda: steady.read(path),
        lambda: steady.write(path, b"x"),
        lambda: steady.call("/ls", path=path),
        lambda: steady.call("/replace", path=path, old="a", new="b"),
        lambda: steady.execute("true", cwd=path),
    ):
        assert refusal(call) == (400, "path_outside_workspace")


def test_nul_and_lone_surrogates_in_paths_are_refused(client: Client, home: Path) -> None:
    for path in (f"{home}/a\0b", f"{home}/\ud800", "base64:a", f"{home}/" + "x" * 300):
        assert refusal(lambda path=path: client.read(path)) == (400, "invalid_request")


def test_symlinks_inside_are_followed_and_others_refused(
    client: Client, home: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "secret").write_text("secret")
    (home / "dir").mkdir()
    (home / "dir/file").write_text("text")
    for name, target in {
        "relative": "dir/file",
        "absolute": f"{home}/dir/file",
        "through": "dir/../dir/./file",
        "chain": "relative",
        "dirlink/../dirlink": None,
        "out": f"{tmp_path}/secret",
        "up": "../../../../../../../../etc/passwd",
        "outdir": str(tmp_path),
        "sly": f"{home}/dir/../../x",
        "loop": "loop",
    }.items():
        if target is not None:
            (home / name).symlink_to(target)
    (home / "dirlink").symlink_to("dir")
    for name in ("relative", "absolute", "through", "chain", "dirlink/file"):
        assert client.read(f"{home}/{name}")[1] == b"text"
    for path in ("out", "up", "outdir/secret", "sly", "loop"):
        for call in (
            lambda path=path: client.read(f"{home}/{path}"),
            lambda path=path: client.write(f"{home}/{path}", b"changed"),
            lambda path=path: client.write(f"{home}/{path}", b"changed", append=True),
        ):
            assert refusal(call) == (400, "path_outside_workspace")
    assert (tmp_path / "secret").read_text() == "secret"


def test_writing_through_a_link_keeps_the_link(client: Client, home: Path) -> None:
    (home / "link").symlink_to("new/file")
    assert client.write(f"{home}/link", b"text")["created"] is True
    assert (home / "link").is_symlink()
    assert (home / "new/file").read_bytes() == b"text"


def test_a_link_that_turns_while_it_is_read_leaks_nothing(
    client: Client, home: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "file").write_text("secret")
    client.write(f"{home}/real/file", b"inside")
    stop = threading.Event()

    def turn() -> None:
        targets = [str(home / "real"), str(tmp_path)]
        while not stop.is_set():
            for target in targets:
                (home / "next").symlink_to(target)
                (home / "next").rename(home / "turning")

    thread = threading.Thread(target=turn)
    (home / "turning").symlink_to("real")
    thread.start()
    outcomes = set()
    try:
        for _ in range(400):
            try:
                outcomes.add(client.read(f"{home}/turning/file")[1])
                client.write(f"{home}/turning/written", b"x")
            except Refused as refused:
                outcomes.add(refused.code.encode())
    finally:
        stop.set()
        thread.join()
    assert outcomes <= {b"inside", b"path_outside_workspace", b"not_a_directory"}
    assert names(tmp_path) == {"file"}


def test_what_is_no_regular_file_is_refused_at_once(client: Client, home: Path) -> None:
    os.mkfifo(home / "fifo")
    (home / "fifo").chmod(0o666)
    (home / "dir").mkdir()
    client.execute("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'")
    started = time.monotonic()
    for name in ("fifo", "sock"):
        path = f"{home}/{name}"
        for call in (
            lambda path=path: client.read(path),
            lambda path=path: client.write(path, b"x"),
            lambda path=path: client.write(path, b"x", append=True),
            lambda path=path: client.call("/replace", path=path, old="a", new="b"),
        ):
            assert refusal(call) == (409, "not_a_regular_file")
    for path in (f"{home}/dir", f"{home}"):
        assert refusal(lambda path=path: client.read(path)) == (409, "is_a_directory")
        assert refusal(lambda path=path: client.write(path, b"")) == (409, "is_a_directory")
    assert refusal(lambda: client.read(f"{home}/none")) == (404, "file_not_found")
    assert refusal(lambda: client.read(f"{home}/none/file")) == (404, "file_not_found")
    (home / "file").write_text("")
    assert refusal(lambda: client.read(f"{home}/file/x")) == (409, "not_a_directory")
    assert refusal(lambda: client.write(f"{home}/file/x", b"")) == (409, "not_a_directory")
    assert refusal(lambda: client.call("/ls", path=f"{home}/file")) == (409, "not_a_directory")
    assert time.monotonic() - started < 30


def test_a_large_read_does_not_stall_a_command(
    client: Client, worker: WorkerProcess, home: Path
) -> None:
    client.execute("truncate -s 600M sparse")
    reader = worker.client()
    thread = threading.Thread(target=lambda: reader.read(f"{home}/sparse", limit=1))
    thread.start()
    slowest = 0.0
    for _ in range(10):
        started = time.monotonic()
        assert client.execute("echo hi")["stdout"] == b"hi\n"
        slowest = max(slowest, time.monotonic() - started)
    assert slowest < 1
    thread.join()
