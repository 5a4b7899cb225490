"""Reading, writing, replacing and listing: exact bytes, whole files, inside the workspace."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.guest.client import Client, Refused, WorkerProcess, wait_until
from tests.guest.conftest import MODES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def refusal(call: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        call()
    return refused.value.status, refused.value.code


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


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


def listing(client: Client, home: Path, **fields: Any) -> list[str]:
    entries = client.call("/ls", **{"path": str(home), **fields})["entries"]
    return [entry["path"].removeprefix(f"{home}/") for entry in entries]


def test_ls_sorts_by_components(client: Client, home: Path) -> None:
    for path in ("a/z", "a b/x", "a-b/x", "b"):
        client.write(f"{home}/{path}", b"12345")
    assert listing(client, home) == ["a", "a b", "a-b", "b"]
    deep = ["a", "a/z", "a b", "a b/x", "a-b", "a-b/x", "b"]
    assert listing(client, home, depth=2) == deep
    assert listing(client, f"{home}/a", path=f"{home}/a") == ["z"]
    found: list[str] = []
    cursor = None
    while True:
        answer = client.call("/ls", path=str(home), depth=2, limit=2, cursor=cursor)
        found += [entry["path"].removeprefix(f"{home}/") for entry in answer["entries"]]
        cursor = answer["cursor"]
        assert answer["truncated"] == (cursor is not None)
        if cursor is None:
            break
    assert found == deep


def test_ls_tells_types_sizes_and_modes(client: Client, home: Path) -> None:
    client.write(f"{home}/file", b"12345", mode="0640")
    client.execute("mkdir -m 0700 dir; ln -s /etc link; mkfifo -m 0600 pipe; touch -d @5.5 file")
    entries = {
        entry["path"].rsplit("/", 1)[1]: entry
        for entry in client.call("/ls", path=str(home), depth=5)["entries"]
    }
    kinds = {name: entry["type"] for name, entry in entries.items()}
    assert kinds == {"dir": "directory", "file": "file", "link": "symlink", "pipe": "other"}
    file = entries["file"]
    assert (file["size"], file["mode"], file["mtime_ms"]) == (5, "0640", 5500)


def test_odd_names_go_there_and_back(client: Client, home: Path) -> None:
    odd = [b"new\nline", b" ", b"-rf", b"'\"", b"\xff\xfe", b"base64:x", "ä€😀".encode(), b"\x01"]
    for name in odd:
        path = base64.b64encode(os.fsencode(home) + b"/" + name).decode()
        client.write(f"base64:{path}", name)
    found = {}
    for entry in client.call("/ls", path=str(home))["entries"]:
        path = entry["path"]
        raw = base64.b64decode(path[7:]) if path.startswith("base64:") else path.encode()
        found[os.path.basename(raw)] = path
    assert set(found) == set(odd)
    for name, path in found.items():
        assert client.read(path)[1] == name
        client.write(path, b"new")
        assert (home / os.fsdecode(name)).read_bytes() == b"new"
    first, *rest = [entry["path"] for entry in client.call("/ls", path=str(home))["entries"]]
    again = client.call("/ls", path=str(home), cursor=first)["entries"]
    assert [entry["path"] for entry in again] == rest


def test_ls_survives_files_that_vanish(client: Client, home: Path, worker: WorkerProcess) -> None:
    churn = "while :; do mkdir -p d; touch d/a d/b c; rm -rf d c; done"
    sock = worker.client().start(churn)
    for _ in range(100):
        try:
            assert set(listing(client, home, depth=3)) <= {"d", "d/a", "d/b", "c"}
        except Refused as refused:
            pytest.fail(str(refused))
    sock.close()


@pytest.mark.parametrize("mode", ["first"])
def test_a_huge_directory_is_listed_in_bounded_answers(client: Client, home: Path) -> None:
    client.execute("mkdir many; cd many; seq -w 30000 | xargs touch")
    answer = client.call("/ls", path=f"{home}/many", limit=10)
    assert len(answer["entries"]) == 10
    assert answer["cursor"] == f"{home}/many/00010"
    answer = client.call("/ls", path=f"{home}/many", limit=10_000, cursor=f"{home}/many/25000")
    assert [entry["path"][-5:] for entry in answer["entries"]] == [
        f"{number:05}" for number in range(25_001, 30_001)
    ]


@pytest.mark.parametrize(
    "fields",
    [{"depth": 0}, {"depth": 33}, {"limit": 0}, {"limit": 10_001}, {"cursor": "/x"}, {"a": 1}],
    ids=str,
)
def test_a_wrong_ls_field_is_refused(
    steady: Client, steady_home: Path, fields: dict[str, Any]
) -> None:
    status, _ = refusal(lambda: steady.call("/ls", path=str(steady_home), **fields))
    assert status == 400


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
