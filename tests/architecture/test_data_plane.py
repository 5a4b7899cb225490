"""Data verbs know Redis and the worker's address; what makes sandboxes they never load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from oneseek_sandbox.http.verbs import CONTROL_VERBS, FUNCTIONS

PROGRAM = """
import runpy, sys
runpy.run_path(sys.argv[1])
from oneseek_sandbox.control.assembly import build_provisioner
from oneseek_sandbox.settings import Settings
settings = Settings(
    runtime=sys.argv[3],
    state_store=sys.argv[4],
    redis_url="redis://nowhere.invalid",
    token_key="t" * 32,
)
build_provisioner(settings, control=sys.argv[2] == "control")
print("\\n".join(sys.modules))
"""


def _modules(root, verb, runtime, store="auto"):
    plane = "control" if verb in CONTROL_VERBS else "data"
    function = str(root / "functions" / verb / "main.py")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, function, plane, runtime, store],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def _named(modules, *names):
    return {
        name for name in modules if name in names or name.startswith(tuple(n + "." for n in names))
    }


@pytest.mark.parametrize("verb", sorted(set(FUNCTIONS.values()) - CONTROL_VERBS))
def test_a_data_verb_loads_no_kubernetes_and_no_runtime(root, verb):
    modules = _modules(root, verb, "kubernetes")
    assert not _named(modules, "kubernetes", "httpx", "yaml")
    assert not _named(modules, "oneseek_sandbox.runtimes", "oneseek_sandbox.control.creation")


def test_only_the_lease_store_that_is_used_is_loaded(root):
    assert not _named(_modules(root, "ls", "local"), "oneseek_sandbox.leases.file")
    assert not _named(_modules(root, "ls", "local", store="file"), "redis")


@pytest.mark.parametrize("verb", sorted(CONTROL_VERBS))
def test_a_control_verb_loads_only_the_runtime_it_uses(root, verb):
    ours = "oneseek_sandbox.runtimes."
    assert not _named(_modules(root, verb, "local"), "kubernetes", ours + "kubernetes")
    assert not _named(
        _modules(root, verb, "kubernetes"), ours + "local", "kubernetes.client.models"
    )
