"""Any sequence of calls: all stores answer the same, and never what a lease promise forbids.

`ONESEEK_FAULTS_SEQUENCES` says how many sequences `make faults` tries.
"""

from __future__ import annotations

import os

import pytest
from tests.contracts.lease_machine import run

SEQUENCES = int(os.environ.get("ONESEEK_FAULTS_SEQUENCES", "300"))


@pytest.mark.promise(1, 2, 3, 4, 5, 6, 7, 8, 9)
def test_all_stores_agree_and_keep_the_promises_in_some_sequences(redis_url):
    run(redis_url, 20, 40)


@pytest.mark.faults
@pytest.mark.promise(1, 2, 3, 4, 5, 6, 7, 8, 9)
def test_all_stores_agree_and_keep_the_promises_in_many_sequences(redis_url):
    run(redis_url, SEQUENCES, 50)
