"""Machines on which a sandbox cannot start, and what is said and left there."""

from __future__ import annotations

import os
import shutil
import sys

import pytest
from tests.bubblewrap import bubblewrap
from tests.local.remains import left_behind

from oneseek_sandbox.errors import (
    CapacityError,
    ConfigurationError,
    SandboxStartError,
)
from oneseek_sandbox.runtimes.local import bwrap_program, host
from oneseek_sandbox.runtimes.local.runtime import LocalRuntime
from oneseek_sandbox.settings import Settings


async def test_nothing_is_made_below_the_floor_of_free_disk(home, make_runtime, labels):
    runtime = await make_runtime(min_free_disk_mb=10**9)
    with pytest.raises(CapacityError, match="PROVISIONER_MIN_FREE_DISK_MB"):
        await runtime.create(labels())
    assert left_behind(home) == []


async def test_a_sandbox_that_does_not_start_leaves_nothing(home, make_runtime, labels):
    runtime = await make_runtime()
    broken = LocalRuntime(Settings(home=home), worker=b"no program")
    await broken.open()
    try:
        with pytest.raises(SandboxStartError):
            await broken.create(labels())
    finally:
        await broken.close()
    assert await runtime.list() == []
    assert left_behind(home) == []


async def test_a_machine_without_bubblewrap_is_refused_with_the_fix(home, monkeypatch):
    monkeypatch.setattr(bwrap_program, "bwrap_candidates", list)
    runtime = LocalRuntime(Settings(home=home))
    with pytest.raises(ConfigurationError, match="apt-get install bubblewrap"):
        await runtime.open()
    await runtime.close()


async def test_a_bubblewrap_that_fails_gives_way_to_the_next(home, monkeypatch, tmp_path):
    refusing = _program(
        tmp_path / "bwrap", "echo 'No permissions to create a namespace' >&2; exit 1"
    )
    working = bwrap_program.bwrap_candidates()
    monkeypatch.setattr(bwrap_program, "bwrap_candidates", lambda: [refusing, *working])
    runtime = LocalRuntime(Settings(home=home))
    await runtime.open()
    await runtime.close()
    monkeypatch.setattr(bwrap_program, "bwrap_candidates", lambda: [refusing])
    runtime = LocalRuntime(Settings(home=home))
    with pytest.raises(ConfigurationError, match="No permissions to create a namespace"):
        await runtime.open()
    await runtime.close()
    assert left_behind(home) == []


def _program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("bwrap", bwrap_program.bwrap_candidates())
async def test_every_bubblewrap_of_this_machine_passes(home, monkeypatch, bwrap):
    monkeypatch.setattr(bwrap_program, "bwrap_candidates", lambda: [bwrap])
    runtime = LocalRuntime(Settings(home=home))
    assert [check for check in await runtime.check() if check.required and not check.passed] == []


@pytest.mark.parametrize("prefix", [sys.base_prefix])
async def test_a_machine_without_a_python_of_its_own_lends_the_servers(
    home, make_runtime, labels, run, monkeypatch, prefix
):
    server_python = host.Interpreter(
        f"{prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}", prefix
    )
    monkeypatch.setattr(host, "find_interpreter", lambda: server_python)
    runtime = await make_runtime()
    sandbox = await runtime.create(labels())
    answer = await run(sandbox, f"{prefix}/bin/python3 -c 'import ssl, json; print(1)'")
    assert answer.output == "1"
    shutil.rmtree(home / "programs")


async def test_root_that_may_not_mount_needs_folders_that_others_can_pass(
    home, make_runtime, labels, run, monkeypatch
):
    monkeypatch.setattr(host, "can_mount", lambda: False)
    monkeypatch.setattr(bwrap_program, "bwrap_candidates", lambda: [bubblewrap()])
    home.chmod(0o711)
    runtime = await make_runtime()
    sandbox = await runtime.create(labels())
    assert (await run(sandbox, "echo here > file; cat file")).output == "here"
    home.chmod(0o700)
    if os.geteuid() == 0:
        with pytest.raises(ConfigurationError, match=f"chmod o.x {home}"):
            await make_runtime()
