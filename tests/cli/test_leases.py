"""Leases by `acquire`, `release`, `status` and `cleanup`."""

from __future__ import annotations

import json


def test_acquire_prints_the_sandbox_id_alone_on_stdout(shell, thread):
    first = shell("acquire", "--thread", thread)
    answer = json.loads(shell("acquire", "--thread", thread, "--json").stdout)
    assert first.stdout.decode().strip() == answer["sandbox_id"]
    assert answer["reused"] is True
    assert b"the same as before" in first.stderr


def test_status_lists_the_sandbox_uncut(shell, thread):
    sandbox_id = shell("acquire", "-t", thread).stdout.strip()
    rows = [row for row in shell("status").stdout.splitlines() if thread.encode() in row]
    assert len(rows) == 1
    assert sandbox_id in rows[0]


def test_cleanup_counts(shell):
    assert b"0 expired" in shell("cleanup").stdout


def test_scopes_are_apart(shell):
    ids = {shell("acquire", "-t", "same", "--scope", scope).stdout for scope in ("one", "two")}
    assert len(ids) == 2
    for scope in ("one", "two"):
        assert shell("release", "-t", "same", "--scope", scope).returncode == 0


def test_a_thread_without_sandbox_says_what_to_do(shell):
    ran = shell("ls", "-t", "nobody")
    assert (ran.returncode, ran.stdout, ran.stderr.count(b"\n")) == (1, b"", 1)
    assert b"lease_not_found" in ran.stderr
    assert b"acquire" in ran.stderr
