"""What the findings of the self-test mean."""

from __future__ import annotations

import pytest

from oneseek_sandbox.runtimes.docker.probe import judge
from oneseek_sandbox.runtimes.findings import Findings
from oneseek_sandbox.settings import Settings

CLOSED = "Network is unreachable"
TARGETS = ("another sandbox", "the engine's host", "the cloud's metadata", "the internet")
GOOD = {
    "uid": 1000,
    "capabilities": 0,
    "no_new_privs": 1,
    "seccomp": 2,
    "writable_root": False,
    "memory": "268435456",
    "processes": "64",
    "kernel": "Linux version 6.1",
}


def failed(facts=None, reached=None, *, network="off"):
    findings = Findings(
        reached=dict.fromkeys(TARGETS, CLOSED) | (reached or {}), facts=GOOD | (facts or {})
    )
    checks = judge(findings, Settings(network=network))
    return {check.name: check.required for check in checks if not check.passed}


def test_a_closed_sandbox_passes():
    assert failed() == {}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seen", ["open", "refused"])
def test_whoever_answers_was_reached(target, seen):
    assert failed(reached={target: seen}) == {f"no way to {target}": True}


@pytest.mark.parametrize(
    ("fact", "name"),
    [
        ({"uid": 0}, "not root"),
        ({"capabilities": 1}, "no capabilities"),
        ({"no_new_privs": 0}, "no new privileges"),
        ({"seccomp": 0}, "system call filter"),
        ({"writable_root": True}, "read-only root"),
    ],
)
def test_what_must_hold_is_required(fact, name):
    assert failed(fact) == {name: True}


def test_a_machine_without_limits_is_told_and_accepted():
    unlimited = {"memory": "9223372036854771712", "processes": "max"}
    assert failed(unlimited) == {"memory limit": False, "process limit": False}


def test_a_network_leads_to_the_internet_alone():
    way_out = {"the internet": "open"}
    assert failed(reached=way_out, network="on") == {}
    assert failed(network="on") == {"a way to the internet": False}
    reached = way_out | {"another sandbox": "open"}
    assert failed(reached=reached, network="on") == {"no way to another sandbox": True}
