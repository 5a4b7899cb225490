from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from oneseek_sandbox.errors import InternalError
from oneseek_sandbox.leases.state import TRANSITIONS, Event, LeaseRecord, State, next_state
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.testing.leases import placement

NOW = 1_000_000


def record(**fields):
    values = {
        "thread": Thread("s", "t"),
        "sandbox_id": "0" * 32,
        "generation": 1,
        "attempt": "a",
        "deadline_ms": NOW + 10,
        "idle_ms": 100,
        "created_ms": NOW,
        "used_ms": NOW,
        "state": "ready",
        "placement": placement("u"),
    }
    return LeaseRecord(**(values | fields))


def test_the_table_speaks_of_known_states_and_events_and_uses_all_of_them():
    states, events = get_args(State), get_args(Event)
    assert {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(states)
    assert {event for _, event in TRANSITIONS} == set(events)


@pytest.mark.parametrize(
    ("state", "event"), sorted(set(product(get_args(State), get_args(Event))) - set(TRANSITIONS))
)
def test_what_is_not_in_the_table_is_refused(state, event):
    with pytest.raises(InternalError, match=f"{state} cannot {event}"):
        next_state(state, event)


@pytest.mark.parametrize("state", ["creating", "ready", "restarting"])
def test_every_lease_can_be_released_and_ends_by_itself(state):
    assert next_state(state, "release") == "none"
    by_itself = {TRANSITIONS.get((state, event)) for event in ("lapse", "expire")}
    assert "none" in by_itself


@pytest.mark.parametrize(
    ("fields", "over_ms"),
    [
        ({}, NOW + 100),
        ({"ends_ms": NOW + 50}, NOW + 50),
        ({"ends_ms": NOW + 500}, NOW + 100),
        ({"pins": {"p": NOW + 300, "q": NOW + 200}}, NOW + 300),
        ({"pins": {"p": NOW + 300}, "ends_ms": NOW + 50}, NOW + 300),
        ({"pins": {"dead": NOW - 1}}, NOW + 100),
        ({"state": "creating", "placement": None}, NOW + 10),
        ({"state": "restarting"}, NOW + 100),
        ({"state": "restarting", "deadline_ms": NOW + 900}, NOW + 900),
    ],
)
def test_when_a_lease_is_over(fields, over_ms):
    assert record(**fields).over_ms == over_ms


@pytest.mark.parametrize(
    ("fields", "until_ms"),
    [
        ({}, 0),
        ({"state": "creating"}, NOW + 10),
        ({"state": "creating", "deadline_ms": NOW}, 0),
        ({"state": "restarting"}, NOW + 10),
        ({"ends_ms": NOW, "pins": {"p": NOW + 5}}, NOW + 5),
        ({"ends_ms": NOW, "pins": {"p": NOW}}, 0),
        ({"ends_ms": NOW + 1, "pins": {"p": NOW + 5}}, 0),
    ],
)
def test_until_when_an_acquire_waits(fields, until_ms):
    assert record(**fields).busy_until_ms(NOW) == until_ms


def test_a_lease_under_restart_is_shown_as_creating_without_its_old_placement():
    shown = record(state="restarting").lease(NOW)
    assert (shown.state, shown.placement) == ("creating", None)


def test_activity_drops_pins_that_ended_by_themselves():
    used = record(pins={"dead": NOW + 5, "alive": NOW + 6})
    used.use(NOW + 5)
    assert (used.used_ms, used.pins) == (NOW + 5, {"alive": NOW + 6})
