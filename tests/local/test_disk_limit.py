"""Sandboxes that share a disk: one that fills it is stopped, and the others do not notice."""

from __future__ import annotations

import asyncio

import pytest
from tests.loop_disk import loop_disk

from oneseek_sandbox.runtimes.local.runtime import LocalRuntime
from oneseek_sandbox.settings import Settings

pytestmark = pytest.mark.finding(12)

FILL = "while :; do head -c 1000000 /dev/zero >> file; sleep 0.05; done"


@pytest.fixture
async def on_small_disk():
    """Make an opened runtime whose home is on a disk of 300 MB, with these settings."""
    disk = loop_disk(300)
    made = []

    async def make(**settings):
        runtime = LocalRuntime(Settings(home=disk.path / "home", **settings))
        await runtime.open()
        made.append(runtime)
        return runtime

    yield make
    for runtime in made:
        for sandbox in await runtime.list():
            assert await runtime.stop(sandbox.uid, sandbox.name)
        await runtime.close()
    disk.close()


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param({"disk_limit_mb": 32, "min_free_disk_mb": 16}, id="past its limit"),
        pytest.param({"disk_limit_mb": 0, "min_free_disk_mb": 200}, id="down to the floor"),
    ],
)
async def test_one_that_fills_the_disk_is_stopped_and_its_neighbour_is_not(
    on_small_disk, labels, run, limits
):
    runtime = await on_small_disk(**limits)
    filling, quiet = await runtime.create(labels("filling")), await runtime.create(labels("quiet"))
    going_on = asyncio.create_task(
        run(quiet, "until test -e stop; do echo a >> log; sleep 0.1; done; echo done", seconds=120)
    )
    answer = await run(filling, FILL, seconds=120)
    assert answer.killed_by == "disk_limit"
    await run(quiet, "sleep 1; touch stop", seconds=120)
    ended = await going_on
    assert (ended.killed_by, ended.output) == (None, "done")
    freed = await run(filling, "rm file && echo room", seconds=120)
    assert (freed.killed_by, freed.output) == (None, "room")
    assert await runtime.stop(filling.uid, filling.name)
