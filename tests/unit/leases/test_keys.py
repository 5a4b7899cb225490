from __future__ import annotations

from itertools import product

import pytest

from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.leases.keys import KeyNames, thread_tag
from oneseek_sandbox.leases.store import Thread

PARTS = [
    "",
    "a",
    "b",
    "a:b",
    "b:a",
    ":",
    "::",
    "1:a",
    "3:a:b",
    "{",
    "}",
    "é",
    "e\u0301",
    "\U0001f600",
]


def test_no_two_threads_share_a_tag():
    threads = {Thread(scope, name) for scope, name in product(PARTS, PARTS)}
    assert len({thread_tag(thread) for thread in threads}) == len(threads)


def test_no_key_of_one_kind_is_a_key_of_another():
    names = KeyNames("p")
    keys = [*names.of_store(), names.notices]
    for part in ("", "live", "doomed", "lease:x"):
        keys += [kind(part) for kind in (names.lease, names.pins, names.last_end)]
        keys += [names.sandbox(part), names.once(part)]
    assert len(set(keys)) == len(keys)
    assert {key[: len("{p}:")] for key in keys} == {"{p}:"}


@pytest.mark.parametrize("prefix", ["", " ", "a{b", "a}b", "a\nb"])
def test_a_prefix_that_breaks_the_hash_tag_is_refused(prefix):
    with pytest.raises(ConfigurationError):
        KeyNames(prefix)
