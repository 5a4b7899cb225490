"""Schedules of faults on a running system; a failure names its seed.

`python -m tests.faults.live --seed N` runs one again, `--count 1000` many others.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.faults.live.drive import run_schedule
from tests.faults.live.schedule import KINDS, Schedule, Step, make_schedule

pytestmark = pytest.mark.faults

SEEDS = range(
    int(os.environ.get("ONESEEK_FAULTS_FIRST", "1")),
    int(os.environ.get("ONESEEK_FAULTS_FIRST", "1"))
    + int(os.environ.get("ONESEEK_FAULTS_LIVE", "20")),
)
KEEP = Path(os.environ["ONESEEK_FAULTS_KEEP"]) if "ONESEEK_FAULTS_KEEP" in os.environ else None


def test_a_seed_gives_the_same_schedule_each_time():
    schedules = [make_schedule(seed, mounts=True) for seed in range(200)]
    assert schedules == [make_schedule(seed, mounts=True) for seed in range(200)]
    assert {step.kind for schedule in schedules for step in schedule.steps} == set(KINDS)
    assert {schedule.home for schedule in schedules} == {"folder", "small disk", "power cut"}
    assert {schedule.form for schedule in schedules} == {"gateways", "functions"}


def test_without_the_right_to_mount_no_schedule_needs_a_disk_of_its_own():
    schedules = [make_schedule(seed, mounts=False) for seed in range(200)]
    assert {schedule.home for schedule in schedules} == {"folder"}
    assert "disk_full" not in {step.kind for schedule in schedules for step in schedule.steps}


def test_twenty_schedules_have_every_store_home_and_form():
    schedules = [make_schedule(seed, mounts=True) for seed in range(1, 21)]
    assert {schedule.store for schedule in schedules} == {"valkey", "file"}
    assert {schedule.home for schedule in schedules} == {"folder", "small disk", "power cut"}
    assert {schedule.form for schedule in schedules} == {"gateways", "functions"}


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_schedule_of_faults_breaks_no_promise(seed, record_property):
    schedule = make_schedule(seed)
    run = await run_schedule(schedule, keep=KEEP)
    record_property("schedule", str(schedule))
    assert not run.findings, "\n".join([str(schedule), *run.findings])


# What the checker calls what each planted defect breaks, and the fault that brings it out.
PLANTED = {
    "written nowhere": ("files", ()),
    "run twice": ("once", ()),
    "left behind": ("left", ()),
    "called lost": ("kept", ("sandbox_killed", "sandbox_killed", "sandbox_killed")),
    "not fenced": ("one_sandbox", ()),
}


@pytest.mark.parametrize("planted", PLANTED)
async def test_a_planted_defect_is_found(planted):
    check, kinds = PLANTED[planted]
    steps = tuple(Step(700 + 200 * n, kind, n, 0) for n, kind in enumerate(kinds))
    schedule = Schedule(3, "valkey", "folder", "gateways", steps, traffic_ms=1_500)
    run = await run_schedule(schedule, planted=planted)
    assert check in {finding.partition(" ")[0] for finding in run.findings}, run.findings
