"""The harness catches every planted fault: one for each lease promise."""

from __future__ import annotations

import pytest
from tests.contracts.lease_machine import run as run_model
from tests.contracts.lease_promises import BrokenPromiseError
from tests.contracts.lockstep import MemoryAlone
from tests.faults.checker import check
from tests.faults.planted.faults import PLANTED
from tests.faults.simulation.schedule import simulate

pytestmark = pytest.mark.faults
SEQUENCES = 1000
RUNS = 10
SCHEDULES = 150


@pytest.mark.parametrize(
    "planted", PLANTED, ids=lambda planted: f"{planted.plant.__name__}-{planted.caught_by}"
)
@pytest.mark.promise(1, 2, 3, 4, 5, 6, 7, 8, 9)
def test_a_planted_fault_is_caught(planted, monkeypatch):
    planted.plant(monkeypatch)
    if planted.caught_by == "model":
        assert planted.promise in broken_by_the_model(planted.promise)
    else:
        assert any(
            planted.promise in finding.promises
            for seed in range(SCHEDULES)
            for finding in check(simulate(seed, *planted.faults))
        )


def broken_by_the_model(wanted):
    """Return which promises break; of several that a fault breaks, other sequences find others."""
    found = set()
    for number in range(RUNS):
        with pytest.raises(BrokenPromiseError) as caught:
            run_model("", SEQUENCES, 50, stores=MemoryAlone, shrink=False, numbered=number)
        found.add(caught.value.promise)
        if wanted in found:
            break
    return found


def test_without_a_planted_fault_the_same_model_finds_nothing():
    run_model("", 150, 50, stores=MemoryAlone, shrink=False)


def test_every_promise_has_a_planted_fault():
    assert {planted.promise for planted in PLANTED} == set(range(1, 10))
