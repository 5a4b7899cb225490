"""The suite that every lease store passes.

Inherit `LeaseStoreContract` in a test module and give the fixtures `new_store` and `later`:

    class TestMyStore(LeaseStoreContract):
        @pytest.fixture
        def clock(self): return FakeClock()

        @pytest.fixture
        def new_store(self, clock): ...  # async (LeaseTerms) -> opened store with nothing in it

        @pytest.fixture
        def later(self, clock): ...      # async (milliseconds) -> None, when they have passed
"""

from __future__ import annotations

from oneseek_sandbox.testing.lease_activity import ActivityPromises
from oneseek_sandbox.testing.lease_creation import CreationPromises
from oneseek_sandbox.testing.lease_deletion import DeletionPromises
from oneseek_sandbox.testing.lease_endings import EndingPromises
from oneseek_sandbox.testing.lease_given import GivenPromises
from oneseek_sandbox.testing.lease_repeats import RepeatPromises
from oneseek_sandbox.testing.lease_requests import RequestPromises
from oneseek_sandbox.testing.lease_restarts import RestartPromises
from oneseek_sandbox.testing.lease_steps import (
    LONG,
    Later,
    NewStore,
    begin,
    busy,
    make_ready,
    placement,
)

__all__ = [
    "LONG",
    "Later",
    "LeaseStoreContract",
    "NewStore",
    "begin",
    "busy",
    "make_ready",
    "placement",
]


class LeaseStoreContract(
    CreationPromises,
    RestartPromises,
    ActivityPromises,
    RequestPromises,
    RepeatPromises,
    EndingPromises,
    DeletionPromises,
    GivenPromises,
):
    """Every promise of the port that a store can hold; numbers are the design's."""
