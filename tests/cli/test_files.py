"""Files by `put`, `get`, `cat`, `ls` and `replace`."""

from __future__ import annotations

import hashlib
import json

import pytest


@pytest.mark.parametrize("size", [0, 1, 3_000_001, 40_000_000])
def test_files_of_any_size_go_in_and_come_out_the_same(shell, thread, tmp_path, size):
    data = hashlib.shake_256(b"data").digest(min(size, 1_000_003)) * (size // 1_000_003 + 1)
    source = tmp_path / "source"
    source.write_bytes(data[:size])
    assert shell("put", "-t", thread, source, "/workspace/new/dir/").returncode == 0
    got = shell("get", "-t", thread, "/workspace/new/dir/source", "copy")
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "copy").read_bytes() == data[:size]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_put_keeps_the_mode(shell, thread, tmp_path):
    script = tmp_path / "tool"
    script.write_text("#!/bin/sh\necho runs\n")
    script.chmod(0o755)
    shell("put", "-t", thread, script, "/workspace/tool")
    assert shell("exec", "-t", thread, "./tool").stdout == b"runs\n"


@pytest.mark.finding(5)
@pytest.mark.parametrize("local", ["source", "-"])
def test_put_waits_for_the_disk_if_told_to(shell, thread, tmp_path, local):
    """A directory that cannot be read cannot be synced either: it tells whether that was asked."""
    (tmp_path / "source").write_bytes(b"kept")
    shell("exec", "-t", thread, "mkdir -p closed open; chmod 300 closed")
    for folder, options, status in (
        ("closed", [], 0),
        ("closed", ["--sync"], 1),
        ("open", ["--sync"], 0),
    ):
        path = f"/workspace/{folder}/synced"
        ran = shell("put", *options, "-t", thread, local, path, stdin=b"kept")
        assert ran.returncode == status, ran.stderr
    assert shell("cat", "-t", thread, "/workspace/open/synced").stdout == b"kept"


def test_put_and_cat_work_in_pipes(shell, thread):
    data = bytes(range(256)) * 100
    assert shell("put", "-t", thread, "-", "/workspace/bytes", stdin=data).returncode == 0
    assert shell("cat", "-t", thread, "/workspace/bytes").stdout == data
    assert shell("get", "-t", thread, "/workspace/bytes", "-").stdout == data


def test_a_failed_get_leaves_the_local_file_alone(shell, thread, tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("mine")
    ran = shell("get", "-t", thread, "/workspace/absent", kept)
    assert ran.returncode == 1
    assert b"file_not_found" in ran.stderr
    assert kept.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [kept]


def test_put_of_a_file_that_is_not_there_says_so(shell, thread):
    ran = shell("put", "-t", thread, "absent", "/workspace/x")
    assert (ran.returncode, ran.stderr.count(b"\n")) == (1, 1)
    assert b"cannot read absent" in ran.stderr


def test_ls_shows_one_name_a_line_however_odd(shell, thread):
    shell("exec", "-t", thread, "mkdir d; touch 'a b' \"$(printf 'n\\nl')\"; ln -s d link")
    lines = shell("ls", "-t", thread).stdout.decode().splitlines()
    names = [line.split(maxsplit=5)[-1] for line in lines]
    assert names == [
        "/workspace/a b",
        "/workspace/d/",
        "/workspace/link@",
        "/workspace/n\\nl",
    ]


def test_ls_follows_the_cursor_to_the_end(shell, thread):
    shell("exec", "-t", thread, "mkdir many; cd many; seq 2500 | xargs touch")
    answer = json.loads(shell("ls", "-t", thread, "/workspace/many", "--json").stdout)
    assert len({entry["path"] for entry in answer["entries"]}) == 2500


def test_replace_edits_and_refuses(shell, thread):
    shell("put", "-t", thread, "-", "/workspace/f", stdin=b"one two one\n")
    refused = shell("replace", "-t", thread, "/workspace/f", "one", "1")
    assert refused.returncode == 1
    assert b"text_not_unique" in refused.stderr
    ran = shell("replace", "-t", thread, "/workspace/f", "one", "1", "--all")
    assert ran.stdout == b"2 replacements in /workspace/f\n"
    assert shell("cat", "-t", thread, "/workspace/f").stdout == b"1 two 1\n"
