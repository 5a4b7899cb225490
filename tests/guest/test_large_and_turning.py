"""Large files cost what is asked of them, and a path that turns while it is walked is told so."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

import pytest
from tests.guest.client import Client, Refused

from oneseek_sandbox.guest.worker.files import SURVEY_SECONDS
from oneseek_sandbox.workers.client import _ANSWER_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.finding(17)

LARGE = 8 << 30
UNKNOWN = {"sha256": None, "total_lines": None}


@pytest.fixture
def mode() -> str:
    """Only as in a sandbox: whose worker it is changes nothing about sizes and about paths that turn."""
    return "first"


@pytest.fixture
def large(client: Client, home: Path) -> Path:
    """A file of 8 GiB, nearly all of it a hole, with two short lines first."""
    client.write(f"{home}/large", b"one\ntwo\n")
    os.truncate(home / "large", LARGE)
    return home / "large"


@pytest.mark.parametrize(
    ("fields", "expected", "truncated"),
    [
        ({"limit": 10}, b"one\ntwo\n\0\0", True),
        ({"offset": LARGE - 10, "limit": 10}, bytes(10), False),
        ({"start_line": 1, "end_line": 1}, b"one\n", False),
        ({"start_line": 2, "end_line": 2, "limit": 100}, b"two\n", False),
        ({"start_line": 1, "end_line": 2, "limit": 5}, b"one\nt", True),
        ({"start_line": 2, "end_line": 3, "limit": 6}, b"two\n\0\0", True),
    ],
    ids=str,
)
def test_a_part_of_a_large_file_is_read_at_once(
    client: Client, large: Path, fields: dict[str, int], expected: bytes, truncated: bool
) -> None:
    started = time.monotonic()
    meta, data = client.read(str(large), **fields)
    assert (meta, data) == ({"size": LARGE, "truncated": truncated, **UNKNOWN}, expected)
    assert time.monotonic() - started < 30


def test_a_byte_is_appended_to_a_large_file_at_once(client: Client, large: Path) -> None:
    started = time.monotonic()
    answer = client.write(str(large), b"x", append=True)
    assert answer == {"size": LARGE + 1, "sha256": None, "created": False}
    assert client.read(str(large), offset=LARGE)[1] == b"x"
    assert time.monotonic() - started < 30


def test_a_file_of_64_mib_has_its_hash_and_lines(client: Client, home: Path) -> None:
    client.write(f"{home}/file", b"")
    os.truncate(home / "file", 64 << 20)
    meta, data = client.read(f"{home}/file", limit=3)
    assert (data, meta["size"], meta["total_lines"]) == (bytes(3), 64 << 20, 1)
    assert len(meta["sha256"]) == 64
    assert client.write(f"{home}/file", b"x", append=True)["sha256"] is None
    assert client.read(f"{home}/file", limit=3)[0]["sha256"] is None


TURNING = """
import os
os.makedirs("real/deep"); open("real/deep/file", "w").write("inside")
os.symlink("real", "next")
print("turning", flush=True)
while True:
    # a link, a directory, a file and nothing, in turns under one name
    os.rename("next", "turning")
    os.symlink("real", "next"); os.unlink("turning"); os.rename("real", "turning")
    os.rename("turning", "real")
    open("turning", "w").close(); os.unlink("turning")
"""


def test_a_path_that_turns_is_told_and_can_be_tried_again(client: Client, home: Path) -> None:
    (home / "program.py").write_text(TURNING)
    turning = client.start("exec python3 program.py", timeout_ms=60_000)
    outcomes: dict[str, int] = {}
    path = f"{home}/turning/deep/file"
    calls = [
        lambda: client.read(path),
        lambda: client.call("/ls", path=f"{home}/turning/deep"),
        lambda: client.call("/replace", path=path, old="inside", new="inside"),
        lambda: client.execute("true", cwd=f"{home}/turning/deep"),
        lambda: client.read(f"{home}/turning"),
    ]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and outcomes.get("path_changed", 0) < 5:
        for call in calls:
            try:
                call()
            except Refused as refused:
                outcomes[refused.code] = outcomes.get(refused.code, 0) + 1
    turning.close()
    expected = {"path_changed", "file_not_found", "not_a_directory", "is_a_directory"}
    assert outcomes.keys() <= expected, outcomes
    assert outcomes["path_changed"]


def test_a_link_instead_of_a_file_is_a_change(client: Client, home: Path) -> None:
    """The race between a walk and an open, with the last name; it is too short to be met often."""
    program = (
        "import os\nopen('a', 'w').close(); os.symlink('program.py', 'l')\nwhile True:\n"
        " os.link('a', 'x'); os.rename('x', 'file'); os.symlink('a', 'y'); os.rename('y', 'file')\n"
    )
    (home / "program.py").write_text(program)
    turning = client.start("exec python3 program.py", timeout_ms=60_000)
    codes = set()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and "path_changed" not in codes:
        for number in range(20):
            try:
                client.write(f"{home}/file", b"%d" % number, append=True)
            except Refused as refused:
                codes.add(refused.code)
    turning.close()
    assert codes <= {"path_changed", "file_not_found"}
    assert stat.S_ISREG((home / "a").lstat().st_mode)


@pytest.mark.finding(17)
def test_a_line_that_is_terabytes_away_is_refused_with_what_to_do(start):
    assert SURVEY_SECONDS <= _ANSWER_SECONDS / 2, "the caller would have given up"
    worker = start(seconds={"SURVEY_SECONDS": 1})
    client, home = worker.client(), worker.workspace
    client.claim()
    client.execute("echo begin > far; truncate -s 4T far")
    path = f"{home}/far"
    assert client.read(path, start_line=1, end_line=1)[1] == b"begin\n"
    for ask in (
        lambda: client.read(path, start_line=5, limit=10),
        lambda: client.write(path, b"x", if_sha256="0" * 64),
    ):
        with pytest.raises(Refused) as refused:
            ask()
        assert (refused.value.status, refused.value.code) == (413, "file_too_large")
        assert "command" in refused.value.message
    with pytest.raises(Refused) as refused:
        client.call("/ls", path=path, depth=1, **{"x" * 100_000: 1})
    assert len(refused.value.message) < 2001
