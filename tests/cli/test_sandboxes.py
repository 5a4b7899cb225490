"""What an acquire gives on the command line, and the list that is asked by labels."""

from __future__ import annotations

import json
import secrets

import pytest
from tests.cli.conftest import Shell


@pytest.fixture(scope="module")
def server(new_server):
    return new_server(key="key-of-the-command-line")


@pytest.fixture
def shell(server, tmp_path):
    return Shell(server, tmp_path)


@pytest.fixture
def thread(shell):
    thread = secrets.token_hex(6)
    yield thread
    shell("release", "-t", thread)


def test_variables_are_given_and_kept(shell, thread):
    given = ("--env", "PLAIN=a=b", "--env", "TAKEN", "--label", f"{thread}=1")
    acquired = shell("acquire", "-t", thread, *given, TAKEN="s3cret")
    assert acquired.returncode == 0, acquired.stderr
    assert b"s3cret" not in acquired.stdout + acquired.stderr
    for _ in range(2):
        ran = shell("exec", "-n", "-t", thread, "--", "echo $PLAIN $TAKEN")
        assert (ran.stdout, ran.returncode) == (b"a=b s3cret\n", 0)


def test_a_list_by_labels(shell, thread):
    shell("acquire", "-t", thread, "-l", f"{thread}=1", "-l", "team=red")
    for command in ("list", "status"):
        listed = json.loads(shell(command, "--label", f"{thread}=1", "--json").stdout)["sandboxes"]
        assert [entry["labels"] for entry in listed] == [{thread: "1", "team": "red"}]
    assert f"{thread}=1".encode() in shell("list").stdout
    none = shell("list", "--label", f"{thread}=2")
    assert (none.stdout, none.returncode) == (b"", 0)
    assert b" 0 live at " in none.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["acquire", "-t", "t", "--env", "not-set-anywhere"], b"not-set-anywhere is not set here"),
        (["acquire", "-t", "t", "--env", "=x"], b"is not NAME=VALUE"),
        (["acquire", "-t", "t", "--label", "x"], b"is not NAME=VALUE"),
        (["list", "--label", "x"], b"is not NAME=VALUE"),
    ],
    ids=lambda value: str(value)[-24:],
)
def test_what_is_no_pair_is_refused(shell, arguments, said):
    refused = shell(*arguments)
    assert refused.returncode == 2
    assert said in b" ".join(refused.stderr.replace(b"\xe2\x94\x82", b"").split())
