"""What `ls` answers, of names of all kinds and of many."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.guest.calls import listing, refusal
from tests.guest.client import Client, Refused, WorkerProcess

if TYPE_CHECKING:
    from pathlib import Path


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


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
