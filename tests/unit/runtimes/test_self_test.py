"""The judgement of the self-test: each thing that could be wrong is found, alone."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest

from oneseek_sandbox.runtimes.local.fixes import Machine, fix_for_failure, fix_for_start
from oneseek_sandbox.runtimes.local.self_test import Expected, judge

GOOD = {
    "pid": 1,
    "processes": 1,
    "status": {
        **dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0000000000000000"),
        "NoNewPrivs": "1",
        "Seccomp": "2",
    },
    "namespaces": {"net": "net:[2]", "pid": "pid:[2]"},
    "hostname": "sandbox",
    "interfaces": ["lo"],
    "routes": {"10.0.0.1": "ENETUNREACH"},
    "host-loopback": "ECONNREFUSED",
    "kernel-settings": "EACCES",
    "sysrq": "EACCES",
    "writable": {
        **dict.fromkeys(("", "/usr", "/etc", "/run", "/dev"), "EROFS"),
        **dict.fromkeys(("/tmp", "/dev/shm", "/workspace"), ""),
    },
    "sizes": {"/tmp": 1024, "/dev/shm": 1024},
    "limits": {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": 1, "RLIMIT_FSIZE": 1, "RLIMIT_NPROC": 10},
    "environment": ["HOME", "PATH"],
    "present": [],
    "descriptors": [],
    "system-calls": dict.fromkeys(
        ("unshare-user", "unshare-net", "mount", "ptrace", "prlimit", "setuid", "keyctl"), "EPERM"
    ),
}
EXPECTED = Expected(
    host_user=2_000_000_001,
    namespaces={"net": "net:[1]", "pid": "pid:[1]"},
    workspace="/workspace",
    tmp_bytes=1024,
    process_limit=10,
    limits_processes=True,
    network=False,
    controllers=frozenset({"memory", "pids"}),
)


def failures(facts, expected=EXPECTED):
    return [check.name for check in judge(facts, expected, "fix it") if not check.passed]


def test_a_good_sandbox_passes():
    assert failures(GOOD) == []


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        (("status", "CapEff"), "000001ffffffffff", "no capabilities"),
        (("status", "CapBnd"), "0000000000000001", "no capabilities"),
        (("status", "NoNewPrivs"), "0", "no new privileges"),
        (("status", "Seccomp"), "0", "seccomp filter"),
        (("kernel-settings",), "", "kernel settings closed"),
        (("sysrq",), "", "sysrq closed"),
        (("system-calls", "unshare-user"), "", "no new user namespaces"),
        (("system-calls", "unshare-net"), "", "no new network namespaces"),
        (("system-calls", "mount"), "", "no mounts"),
        (("system-calls", "ptrace"), "", "no tracing"),
        (("system-calls", "prlimit"), "", "no limits on other processes"),
        (("namespaces", "net"), "net:[1]", "own net namespace"),
        (("namespaces", "pid"), "pid:[1]", "own pid namespace"),
        (("processes",), 30, "sees no other processes"),
        (("pid",), 2, "sees no other processes"),
        (("hostname",), "machine", "own host name"),
        (("host-loopback",), "", "loopback of this machine closed"),
        (("interfaces",), ["lo", "eth0"], "network off"),
        (("routes", "10.0.0.1"), "", "private ranges closed"),
        (("writable", "/usr"), "", "system is read-only"),
        (("writable", ""), "", "system is read-only"),
        (("writable", "/workspace"), "EACCES", "workspace and /tmp are writable"),
        (("present",), ["/home/sandboxes"], "other sandboxes out of sight"),
        (("environment",), ["PROVISIONER_API_KEY"], "no environment of the server"),
        (("descriptors",), ["/etc/shadow"], "no open files of the server"),
        (("sizes", "/tmp"), 10**12, "/tmp is bounded"),
        (("limits", "RLIMIT_CORE"), -1, "no core dumps"),
        (("limits", "RLIMIT_FSIZE"), -1, "files are bounded"),
        (("limits", "RLIMIT_NPROC"), -1, "processes are bounded"),
    ],
)
def test_what_is_wrong_is_named(path, value, name):
    facts = copy.deepcopy(GOOD)
    place = facts
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (failed,) = [check for check in judge(facts, EXPECTED, "fix it") if not check.passed]
    assert failed.name == name
    assert failed.required
    assert failed.fix == "fix it"


@pytest.mark.parametrize("user", [0, None])
def test_a_sandbox_that_is_root_here_or_cannot_be_looked_at_fails(user):
    assert failures(GOOD, dataclasses.replace(EXPECTED, host_user=user)) == [
        "not root on this machine"
    ]


def test_missing_control_groups_are_said_with_the_fix_but_do_not_stop_the_server():
    checks = judge(GOOD, dataclasses.replace(EXPECTED, controllers=frozenset()), "")
    missing = [check for check in checks if not check.passed]
    assert [check.name for check in missing] == ["memory limit", "process limit"]
    assert not any(check.required for check in missing)
    assert all("Delegate=yes" in check.fix for check in missing)


MACHINE = Machine(
    apparmor_restricts=None,
    userns_clone=None,
    max_user_namespaces=10_000,
    in_container=False,
    has_bwrap=True,
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"has_bwrap": False}, "apt-get install bubblewrap"),
        ({"apparmor_restricts": 1}, "/etc/apparmor.d/bwrap"),
        ({"userns_clone": 0}, "kernel.unprivileged_userns_clone=1"),
        ({"max_user_namespaces": 0}, "user.max_user_namespaces=15000"),
        ({"in_container": True}, "--security-opt seccomp=unconfined"),
        ({}, "bwrap --unshare-all"),
    ],
)
def test_the_fix_is_the_one_for_this_machine(change, words):
    assert words in fix_for_start(dataclasses.replace(MACHINE, **change))


@pytest.mark.finding(19)
@pytest.mark.parametrize(
    "said",
    [
        "bwrap: Can't find source path /srv/home/sandboxes/a/workspace: Permission denied",
        "launch: [Errno 13] Permission denied: '/srv/home/programs/worker'",
        "bwrap: Can't open /srv/home/x: No space left on device",
    ],
)
def test_a_failure_that_speaks_of_the_state_folder_is_not_fixed_with_other_namespaces(said):
    machine = dataclasses.replace(MACHINE, in_container=True)
    advice = fix_for_failure(machine, said, Path("/srv/home"))
    assert "PROVISIONER_HOME" in advice
    assert "docker run" not in advice


@pytest.mark.parametrize(
    "said",
    [
        "bwrap: setting up uid map: Permission denied",
        "bwrap: No permissions to create new namespace",
        "bwrap: Can't mount proc on /newroot/proc: Operation not permitted",
    ],
)
def test_a_failure_that_speaks_of_namespaces_is_fixed_for_this_machine(said):
    machine = dataclasses.replace(MACHINE, in_container=True)
    assert fix_for_failure(machine, said, Path("/srv/home")) == fix_for_start(machine)
