"""Sandboxes with network, in a small Internet that the test makes in a namespace of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.runtimes.local import network
from oneseek_sandbox.runtimes.local.runtime import LocalRuntime
from oneseek_sandbox.settings import Settings

_WORLD = Path(__file__).with_name("small_internet.py")


async def test_without_pasta_it_is_refused_with_the_fix(home, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    runtime = LocalRuntime(Settings(home=home, network="on"))
    with pytest.raises(ConfigurationError, match="apt-get install passt"):
        await runtime.open()
    await runtime.close()


async def test_without_tun_for_everybody_it_is_refused_with_the_fix(home, monkeypatch, tmp_path):
    closed = tmp_path / "tun"
    closed.touch(mode=0o600)
    monkeypatch.setattr(network, "TUN", closed)
    runtime = LocalRuntime(Settings(home=home, network="on"))
    with pytest.raises(ConfigurationError, match="chmod 0666"):
        await runtime.open()
    await runtime.close()


@pytest.fixture(scope="module")
def seen():
    """What a sandbox with network could reach; only root can make the device node it needs."""
    paths = os.pathsep.join(path for path in sys.path if path)
    answer = subprocess.run(
        ["unshare", "--net", "--mount", sys.executable, str(_WORLD)],
        env={"PYTHONPATH": paths, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return dict(line.split(" ", 1) for line in answer.stdout.splitlines())


if os.geteuid() == 0:

    def test_the_internet_is_reached(seen):
        assert seen["93.184.216.34"] == "reached"

    @pytest.mark.parametrize(
        "address", ["10.9.9.1", "192.168.7.1", "169.254.169.254", "100.64.0.1"]
    )
    def test_private_and_link_local_addresses_are_not(seen, address):
        assert seen[address] == "No route to host"

    @pytest.mark.parametrize("address", ["198.51.100.5", "10.9.9.9", "203.0.113.77"])
    def test_no_address_of_this_machine_is_reached(seen, address):
        assert seen[address] == "No route to host"

    def test_the_loopback_is_the_sandboxs_own(seen):
        assert seen["127.0.0.1"] == "Connection refused"

    def test_ipv6_is_closed(seen):
        assert seen["2001:db8::1"] in ("No route to host", "Network is unreachable")

    def test_names_are_resolved_by_this_machines_resolver(seen):
        assert seen["name"] == "93.184.216.34"

    def test_nothing_is_left_running(seen):
        assert seen["left"] == "none"

    def test_pasta_ends_with_a_sandbox_that_ended_by_itself(seen):
        assert seen["orphan"] == "ended"
