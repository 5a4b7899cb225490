"""What a probe's findings mean."""

from __future__ import annotations

from oneseek_sandbox.runtimes.findings import Findings
from oneseek_sandbox.runtimes.kubernetes.findings import checks, is_enforced

FACTS = {
    "uid": 1000,
    "capabilities": 0,
    "no_new_privs": 1,
    "seccomp": 2,
    "writable_root": False,
    "token": False,
    "environment": [],
    "processes": "1024",
    "memory": "268435456",
    "kernel": "Linux version 6.1",
}


def _findings(reached="silent", **facts):
    return Findings({"another sandbox": reached, "the internet": "open"}, FACTS | facts)


def _failed(findings, *, open_allowed=False):
    found = checks(findings, open_allowed=open_allowed)
    return {check.name for check in found if check.required and not check.passed}


def test_a_closed_way_to_a_live_worker_means_that_policy_is_enforced():
    assert is_enforced(_findings("silent"))
    assert is_enforced(_findings("refused"))
    assert not is_enforced(_findings("open"))


def test_an_open_way_to_another_sandbox_fails_unless_it_is_allowed():
    assert _failed(_findings("open")) == {"no way to another sandbox"}
    assert _failed(_findings("open"), open_allowed=True) == set()


def test_each_hole_in_the_pod_fails():
    holes = {
        "not root": {"uid": 0},
        "no capabilities": {"capabilities": 1},
        "no new privileges": {"no_new_privs": 0},
        "read-only root": {"writable_root": True},
        "no service account token": {"token": True},
        "no cluster addresses in the environment": {"environment": ["KUBERNETES_PORT"]},
        "system call filter": {"seccomp": 0},
    }
    for name, facts in holes.items():
        assert _failed(_findings(**facts)) == {name}


def test_missing_limits_are_told_with_their_fix_and_do_not_fail():
    found = checks(_findings(processes="max", memory="9223372036854771712"), open_allowed=False)
    missing = {check.name: check.fix for check in found if not check.passed}
    assert "podPidsLimit" in missing["process limit"]
    assert "PROVISIONER_POD_MEMORY_LIMIT" in missing["memory limit"]
    assert _failed(_findings(processes="max")) == set()


def test_gvisor_filters_system_calls_itself():
    assert _failed(_findings(seccomp=0, kernel="Linux version 4.4.0 (gVisor)")) == set()
