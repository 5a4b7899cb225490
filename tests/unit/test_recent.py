"""A bounded map keeps what was used last, and never more than it may."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneseek_sandbox.recent import Recent


def filled(*keys, most=3):
    recent = Recent(most)
    for key in keys:
        recent[key] = key.upper()
    return recent


def test_the_least_used_makes_room():
    recent = filled("a", "b", "c")
    assert recent["a"] == recent.get("a") == "A"
    recent["d"] = "D"
    assert recent.values() == ["C", "A", "D"]
    assert (recent.get("b"), len(recent)) == (None, 3)
    with pytest.raises(KeyError):
        recent["b"]


def test_setting_an_entry_again_is_a_use_and_needs_no_room():
    recent = filled("a", "b", "c")
    recent["a"] = "new"
    assert recent.values() == ["B", "C", "new"]


def test_looking_for_what_is_not_there_changes_nothing():
    recent = filled("a", "b", "c")
    assert (recent.get("x"), recent.pop("x")) == (None, None)
    assert recent.values() == ["A", "B", "C"]


def test_what_is_taken_out_makes_room():
    recent = filled("a", "b", "c")
    assert recent.pop("b") == "B"
    recent["d"] = "D"
    assert recent.values() == ["A", "C", "D"]
    recent.clear()
    assert (len(recent), recent.values()) == (0, [])


def test_values_may_be_gone_through_while_entries_come_and_go():
    recent = filled("a", "b", "c")
    for value in recent.values():
        recent[value] = value
    assert recent.values() == ["A", "B", "C"]


KEYS = st.integers(0, 5)


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["set", "get", "pop"]), KEYS), max_size=60),
)
def test_it_is_the_simplest_thing_that_keeps_the_last_uses(most, steps):
    recent, uses = Recent(most), []
    for number, (verb, key) in enumerate(steps):
        known = OrderedDict(uses[-most:])
        if verb == "set":
            recent[key] = number
            uses = [(k, v) for k, v in known.items() if k != key] + [(key, number)]
        elif verb == "get":
            assert recent.get(key) == known.get(key)
            if key in known:
                uses = [(k, v) for k, v in known.items() if k != key] + [(key, known[key])]
        else:
            assert recent.pop(key) == known.pop(key, None)
            uses = list(known.items())
        assert recent.values() == [value for _, value in uses[-most:]]
