"""What the containers of a sandbox are asked to be."""

from __future__ import annotations

import json

import pytest

from oneseek_sandbox.runtimes.docker.container_spec import listener_config, sandbox_config
from oneseek_sandbox.settings import Settings

SETTINGS = Settings(memory_limit_mb=256, process_limit=64, cpu_limit=0.5, tmp_limit_mb=16)
SANDBOX = sandbox_config(SETTINGS, "a-sandbox", "image", {})
LISTENER = listener_config("a-sandbox", "image", {})
LISTENER_ON_THE_INTERNET = listener_config(
    "a-sandbox", "image", {}, network="own", closing=(b"\1",)
)


@pytest.mark.parametrize("config", [SANDBOX, LISTENER, LISTENER_ON_THE_INTERNET])
def test_both_containers_are_hardened(config):
    host = config["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges" in host["SecurityOpt"]
    assert not any("seccomp" in option for option in host["SecurityOpt"])
    assert host["ReadonlyRootfs"]
    assert not host["Privileged"]
    assert host["IpcMode"] == "private"
    assert host["RestartPolicy"] == {"Name": "no"}
    assert not {"PidMode", "UsernsMode", "Binds", "Devices"} & host.keys()
    assert host["PidsLimit"] > 0
    assert host["Memory"] == host["MemorySwap"] > 0


def test_a_sandbox_is_nobody_without_a_network_or_capabilities():
    assert SANDBOX["User"] == "1000:1000"
    assert SANDBOX["HostConfig"]["NetworkMode"] == "none"
    assert "CapAdd" not in SANDBOX["HostConfig"]
    assert "PortBindings" not in SANDBOX["HostConfig"]


@pytest.mark.finding(12)
def test_the_worker_is_told_what_its_volume_may_take():
    settings = Settings(disk_limit_mb=100, min_free_disk_mb=50)
    program = sandbox_config(settings, "a-sandbox", "image", {})["Entrypoint"]
    for option, megabytes in (("--disk-limit", 100), ("--disk-floor", 50)):
        assert program[program.index(option) + 1] == str(megabytes * 1024**2)


def test_the_worker_is_told_that_all_paths_are_open_but_those_it_lives_on():
    program = sandbox_config(Settings(file_scope="sandbox"), "a-sandbox", "image", {})["Entrypoint"]
    private = ["--private", "/opt/oneseek-sandbox", "--private", "/run/oneseek-sandbox"]
    first = program.index("--file-scope")
    assert program[first : first + 6] == ["--file-scope", "sandbox", *private]
    assert "--file-scope" not in SANDBOX["Entrypoint"]


def test_a_sandbox_mounts_volumes_and_nothing_of_the_host():
    mounts = {mount["Target"]: mount for mount in SANDBOX["HostConfig"]["Mounts"]}
    assert set(mounts) == {"/workspace", "/run/oneseek-sandbox"}
    assert {mount["Type"] for mount in mounts.values()} == {"volume"}
    assert mounts["/run/oneseek-sandbox"]["ReadOnly"]


def test_only_a_listener_that_closes_addresses_may_do_so():
    assert "CapAdd" not in LISTENER["HostConfig"]
    assert LISTENER["User"] == "1001:1001"
    assert LISTENER_ON_THE_INTERNET["HostConfig"]["CapAdd"] == ["NET_ADMIN"]


def test_a_port_is_published_on_loopback_only():
    assert LISTENER["HostConfig"]["PortBindings"] == {
        "8787/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]
    }


def test_a_sandbox_with_a_network_shares_that_of_its_listener():
    config = sandbox_config(SETTINGS, "a-sandbox", "image", {}, listener="f00")
    assert config["HostConfig"]["NetworkMode"] == "container:f00"
    assert "Hostname" not in config, "engines refuse a host name beside another's network"


def test_a_sandbox_and_its_listener_share_a_level_that_others_do_not_have():
    levels = [
        [option for option in config["HostConfig"]["SecurityOpt"] if "level" in option]
        for config in (SANDBOX, LISTENER, sandbox_config(SETTINGS, "another", "image", {}))
    ]
    assert levels[0] == levels[1] != levels[2]


def test_limits_are_in_the_engines_units():
    host = SANDBOX["HostConfig"]
    assert (host["Memory"], host["PidsLimit"], host["NanoCpus"]) == (268_435_456, 64, 500_000_000)
    assert "size=16m" in host["Tmpfs"]["/tmp"]
    json.dumps(SANDBOX)
