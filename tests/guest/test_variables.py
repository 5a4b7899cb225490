"""A claim brings the variables of all commands, the newest ones last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.guest.client import Refused

if TYPE_CHECKING:
    from tests.guest.client import Client, WorkerProcess

PRINT = "import os, json; print(json.dumps(dict(os.environ)))"


def environment(client: Client, **fields: Any) -> dict[str, str]:
    ran = client.execute(["python3", "-c", PRINT], **fields)
    return dict(json.loads(ran["stdout"]))


def test_they_are_added_to_every_command_until_others_come(first: WorkerProcess) -> None:
    client = first.client()
    own = environment(client)
    for number, env in enumerate([{"A": "1", "HOME": "/x"}, {"B": "ä\n"}, {}], 1):
        client.claim(env=env, env_version=number)
        assert environment(client) == own | env
        assert client.call("/health", "GET")["env_version"] == number
    client.claim(env={"A": "1"}, env_version=4)
    assert environment(client, env={"A": "2", "C": ""}) == own | {"A": "2", "C": ""}


def test_a_late_claim_changes_nothing_and_one_without_them_neither(first: WorkerProcess) -> None:
    client = first.client()
    client.claim(env={"A": "new"}, env_version=3)
    client.claim(env={"A": "old"}, env_version=2)
    client.claim()
    assert environment(client)["A"] == "new"
    assert client.call("/health", "GET")["env_version"] == 3


def test_a_later_lease_counts_anew(first: WorkerProcess) -> None:
    first.client().claim(env={"A": "old"}, env_version=3)
    client = first.client(generation=2)
    client.claim()
    assert client.call("/health", "GET")["env_version"] == 0
    client.claim(env={"A": "new"}, env_version=1)
    assert environment(client)["A"] == "new"
    assert client.call("/health", "GET")["env_version"] == 1


def test_64_kib_reach_a_command_with_a_script_that_is_as_long(first: WorkerProcess) -> None:
    client = first.client()
    client.claim(env={"A": "\x01" * 65_535}, env_version=1)
    ran = client.execute('printf %s "$A" | wc -c #' + "é" * 40_000)
    assert ran["stdout"].strip() == b"65535"


def test_they_are_in_no_environment_but_that_of_commands(first: WorkerProcess) -> None:
    client = first.client()
    client.claim(env={"TOKEN": "s3cret-value"}, env_version=1)
    script = "head -c 0 /proc/1/environ && exit 1; grep -l s3cret[-]value /proc/[0-9]*/cmdline"
    assert client.execute(["sh", "-c", script])["stdout"] == b""
    assert b"s3cret-value" not in Path(f"/proc/{first.worker_pid}/environ").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"env": {"A=B": "s3cret"}, "env_version": 1},
        {"env": {"": "s3cret"}, "env_version": 1},
        {"env": {"A": "s3cret\0"}, "env_version": 1},
        {"env": {"A": 1}, "env_version": 1},
        {"env": ["A"], "env_version": 1},
        {"env": {}, "env_version": -1},
        {"env": {"A": "x" * 600_000}, "env_version": 1},
    ],
    ids=lambda changes: str(changes)[:24],
)
def test_impossible_ones_are_refused_and_the_claim_with_them(
    first: WorkerProcess, changes: dict[str, Any]
) -> None:
    client = first.client(generation=9)
    with pytest.raises(Refused) as refused:
        client.claim(**changes)
    assert refused.value.status in (400, 413)
    assert "s3cret" not in refused.value.message
    assert first.client().execute("true")["exit_code"] == 0
