"""Writes of many at once and of half a file, appends, preconditions, replacements."""

from __future__ import annotations

import json
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.guest.calls import listing, names, refusal, sha256
from tests.guest.client import Client, Refused, WorkerProcess, wait_until
from tests.guest.conftest import MODES

if TYPE_CHECKING:
    from pathlib import Path


def test_modes_are_kept_or_given(client: Client, home: Path) -> None:
    def mode(name: str) -> int:
        return stat.S_IMODE((home / name).stat().st_mode)

    client.write(f"{home}/new", b"")
    assert mode("new") == 0o644
    client.write(f"{home}/tool", b"#!/bin/sh\necho tool", mode="0755")
    assert mode("tool") == 0o755
    client.write(f"{home}/tool", b"#!/bin/sh\necho new")
    client.call("/replace", path=f"{home}/tool", old="new", new="newer")
    assert mode("tool") == 0o755
    assert client.execute(["./tool"])["stdout"] == b"newer\n"
    client.write(f"{home}/tool", b"", mode="600", append=True)
    assert mode("tool") == 0o600
    for wrong in ("9", "abc", "07777", "-644"):
        call = lambda wrong=wrong: client.write(f"{home}/new", b"", mode=wrong)  # noqa: E731
        assert refusal(call) == (400, "invalid_request")


def test_read_only_files_are_not_overwritten(worker: WorkerProcess, mode: str, home: Path) -> None:
    client = worker.client()
    client.execute("echo text > file; chmod 444 file; mkdir dir; chmod 555 dir")
    if mode == "root":
        assert client.write(f"{home}/file", b"")["size"] == 0
        return
    for call in (
        lambda: client.write(f"{home}/file", b"new"),
        lambda: client.write(f"{home}/file", b"new", append=True),
        lambda: client.call("/replace", path=f"{home}/file", old="text", new="b"),
        lambda: client.write(f"{home}/dir/file", b"new"),
    ):
        assert refusal(call) == (403, "permission_denied")
    client.execute("chmod 000 file")
    assert refusal(lambda: client.read(f"{home}/file")) == (403, "permission_denied")


def test_preconditions(client: Client, home: Path) -> None:
    path = f"{home}/file"
    first = client.write(path, b"one", create_only=True)
    assert first["created"] is True
    assert refusal(lambda: client.write(path, b"two", create_only=True)) == (409, "file_exists")
    wrong = sha256(b"other")
    for call in (
        lambda: client.write(path, b"two", if_sha256=wrong),
        lambda: client.write(path, b"two", if_sha256=wrong, append=True),
        lambda: client.call("/replace", path=path, old="one", new="two", if_sha256=wrong),
        lambda: client.write(f"{home}/none", b"two", if_sha256=wrong),
    ):
        assert refusal(call) == (409, "content_changed")
    assert client.read(path)[1] == b"one"
    second = client.write(path, b"+", if_sha256=first["sha256"], append=True)
    answer = client.call("/replace", path=path, old="+", new="-", if_sha256=second["sha256"])
    client.write(path, b"three", if_sha256=answer["sha256"])
    assert names(home) == {"file"}


def test_of_many_creations_one_succeeds(worker: WorkerProcess, home: Path) -> None:
    clients = [worker.client() for _ in range(20)]

    def create(client: Client) -> bool:
        try:
            return bool(client.write(f"{home}/file", os.urandom(300_000), create_only=True))
        except Refused as refused:
            if refused.code != "file_exists":
                raise
            return False

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(create, clients)) == 1
    assert names(home) == {"file"}


def test_of_many_conditional_writes_each_sees_the_one_before(
    worker: WorkerProcess, home: Path
) -> None:
    clients = [worker.client() for _ in range(8)]
    clients[0].write(f"{home}/count", b"0")

    def count(client: Client) -> None:
        for _ in range(10):
            while True:
                meta, data = client.read(f"{home}/count")
                try:
                    new = b"%d" % (int(data) + 1)
                    client.write(f"{home}/count", new, if_sha256=meta["sha256"])
                except Refused as refused:
                    if refused.code != "content_changed":
                        raise
                else:
                    break

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, clients))
    assert (home / "count").read_bytes() == b"80"


@pytest.mark.parametrize(("mode", "size"), [*((mode, 1000) for mode in MODES), ("first", 400_000)])
def test_appends_never_interleave(worker: WorkerProcess, home: Path, size: int) -> None:
    clients = [worker.client() for _ in range(20)]

    def append(number: int) -> None:
        body = [b"%02d" % number * (size // 4) for _ in range(2)]
        for _ in range(3):
            clients[number].write(f"{home}/log", iter([*body, b"\n"]), append=True)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(append, range(20)))
    lines = (home / "log").read_bytes().splitlines()
    assert len(lines) == 60
    assert all(line == line[:2] * (size // 2) for line in lines)
    assert names(home) == {"log"}


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("framing", ["content-length", "chunked"])
def test_an_upload_that_breaks_off_leaves_the_old_file(
    client: Client, home: Path, append: bool, framing: str
) -> None:
    client.write(f"{home}/file", b"old")
    meta = json.dumps({"path": f"{home}/file", "append": append})
    sock = client.connect()
    if framing == "chunked":
        body = b"100000\r\n" + b"x" * 700_000
        sock.sendall(
            client.raw_head("/write", {"x-meta": meta, "transfer-encoding": "chunked"}) + body
        )
    else:
        head = client.raw_head("/write", {"x-meta": meta, "content-length": "1000000"})
        sock.sendall(head + b"x" * 700_000)
    wait_until(lambda: len(names(home)) == 2)
    assert [entry["path"] for entry in client.call("/ls", path=str(home))["entries"]] == [
        f"{home}/file"
    ]
    sock.close()
    wait_until(lambda: names(home) == {"file"})
    assert (home / "file").read_bytes() == b"old"


def test_a_full_disk_is_said_and_leaves_the_old_file(small_disk: WorkerProcess) -> None:
    client = small_disk.client()
    home = small_disk.workspace
    client.write(f"{home}/file", b"old")
    for append in (False, True):
        call = lambda append=append: client.write(  # noqa: E731
            f"{home}/file", b"x" * 3_000_000, append=append
        )
        assert refusal(call) == (409, "disk_full")
        assert client.read(f"{home}/file")[1] == b"old"
    assert listing(client, home) == ["file"]
    client.execute("head -c 700000 /dev/zero > half")
    call = lambda: client.write(f"{home}/file", b"x" * 400_000, append=True)  # noqa: E731
    assert refusal(call) == (409, "disk_full")
    assert client.read(f"{home}/file")[1] == b"old"


def test_a_reader_sees_the_old_or_the_new_file_only(worker: WorkerProcess, home: Path) -> None:
    writer, reader = worker.client(), worker.client()
    contents = [b"a" * 500_000, b"b" * 700_000]
    writer.write(f"{home}/file", contents[0])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for content in contents:
                writer.write(f"{home}/file", content)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(50):
            meta, data = reader.read(f"{home}/file")
            assert data in contents
            assert sha256(data) == meta["sha256"]
    finally:
        stop.set()
        thread.join()


def test_replace_is_exact(client: Client, home: Path) -> None:
    path = f"{home}/file"
    before = b"\xff\r\nold\r\n\told \xc3\xa4\n"
    client.write(path, before)
    assert refusal(lambda: client.call("/replace", path=path, old="old", new="new")) == (
        409,
        "text_not_unique",
    )
    assert refusal(lambda: client.call("/replace", path=path, old="none", new="new")) == (
        409,
        "text_not_found",
    )
    assert client.read(path)[1] == before
    after = b"\xff\r\nold\r\n\tnew\r\n \xc3\xa4\n"
    answer = client.call("/replace", path=path, old="\told", new="\tnew\r\n")
    assert answer == {"replacements": 1, "size": len(after), "sha256": sha256(after)}
    assert client.read(path)[1] == after
    answer = client.call("/replace", path=path, old="e", new="", replace_all=True)
    assert answer["replacements"] == 1
    assert refusal(lambda: client.call("/replace", path=path, old="", new="x"))[0] == 400
    assert names(home) == {"file"}


@pytest.mark.finding(18)
def test_a_replace_that_fails_for_its_line_ends_names_them(client: Client, home: Path) -> None:
    for text, old, told in ((b"a\r\nb\r\n", "a\nb", r"\r\n"), (b"a\nb\n", "a\r\nb", r"\n")):
        client.write(f"{home}/file", text)
        with pytest.raises(Refused) as refused:
            client.call("/replace", path=f"{home}/file", old=old, new="c")
        assert refused.value.code == "text_not_found"
        assert f"lines end with {told}:" in refused.value.message
    with pytest.raises(Refused) as refused:
        client.call("/replace", path=f"{home}/file", old="a\nc", new="c")
    assert "end with" not in refused.value.message


@pytest.mark.parametrize("mode", ["first"])
def test_replace_over_chunk_borders(client: Client, home: Path) -> None:
    data = b"abc" * 400_000
    client.write(f"{home}/file", data)
    answer = client.call("/replace", path=f"{home}/file", old="cab", new="-", replace_all=True)
    expected = data.replace(b"cab", b"-")
    assert answer["replacements"] == data.count(b"cab")
    assert client.read(f"{home}/file")[1] == expected


def test_replace_refuses_a_huge_file(client: Client, home: Path) -> None:
    client.execute("truncate -s 65M file")
    call = lambda: client.call("/replace", path=f"{home}/file", old="a", new="b")  # noqa: E731
    assert refusal(call) == (413, "file_too_large")


def test_parallel_replaces_lose_nothing(worker: WorkerProcess, home: Path) -> None:
    clients = [worker.client() for _ in range(10)]
    clients[0].write(f"{home}/file", b"".join(b"<%d>" % number for number in range(10)) * 1)

    def replace(number: int) -> None:
        clients[number].call("/replace", path=f"{home}/file", old=f"<{number}>", new=f"[{number}]")

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(replace, range(10)))
    assert (home / "file").read_bytes() == b"".join(b"[%d]" % number for number in range(10))
