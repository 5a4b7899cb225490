"""When a failed call is sent again."""

from __future__ import annotations

import pytest

from oneseek_sandbox import models
from oneseek_sandbox.client.retries import Retries, is_repeatable
from oneseek_sandbox.errors import (
    CapacityError,
    InvalidRequestError,
    SandboxReleasedError,
    ServerUnreachableError,
    StoreUnavailableError,
)

NAME = {"thread_id": "t"}
ID = {"sandbox_id": "0" * 32}
FILE = {**NAME, "path": "/workspace/x"}
HASH = "0" * 64


@pytest.mark.parametrize(
    ("request_", "repeatable"),
    [
        (models.AcquireRequest(thread_id="t"), True),
        (models.ReleaseRequest(**ID), True),
        (models.ReleaseRequest(**NAME), False),
        (models.CleanupIdleRequest(), True),
        (models.LsRequest(**NAME), True),
        (models.ReadFileRequest(**FILE), True),
        (models.ExecuteRequest(**NAME, command="true"), False),
        (models.ExecuteRequest(**ID, command="true", request_id="r"), True),
        (models.ExecuteRequest(**NAME, command="true", request_id="r"), False),
        (models.ExecuteRequest(**ID, cancel="r"), True),
        (models.WriteFileRequest(**FILE, content=""), True),
        (models.WriteFileRequest(**FILE, content="", append=True), False),
        (models.WriteFileRequest(**FILE, content="", create_only=True), False),
        (models.WriteFileTarget(**FILE, if_sha256=HASH), False),
        (models.ReplaceRequest(**FILE, old="a", new="b"), False),
    ],
)
def test_only_what_may_be_done_twice_is_repeatable(request_, repeatable):
    assert is_repeatable(request_) is repeatable


@pytest.mark.parametrize("error", [InvalidRequestError("no"), SandboxReleasedError("gone")])
def test_what_will_not_pass_is_final(error):
    assert Retries(60).pause(error, repeatable=True) is None


def test_a_plain_command_is_not_sent_again_when_it_may_have_run():
    for may_have_run in (True, None):
        lost = ServerUnreachableError("lost", may_have_run=may_have_run)
        assert Retries(60).pause(lost, repeatable=False) is None
    assert Retries(60).pause(StoreUnavailableError("away"), repeatable=False) is None


def test_what_was_never_sent_is_sent_again_whatever_it_is():
    unsent = ServerUnreachableError("refused", may_have_run=False)
    assert Retries(60).pause(unsent, repeatable=False) is not None


def test_the_servers_own_word_on_when_is_kept():
    later = CapacityError("full", retry_after_seconds=7)
    assert Retries(60).pause(later, repeatable=True) >= 7


def test_pauses_grow_and_together_stay_within_what_is_given():
    retries = Retries(8)
    pauses = []
    while (pause := retries.pause(StoreUnavailableError("away"), repeatable=True)) is not None:
        pauses.append(pause)
    assert 1 < len(pauses) < 10
    assert sum(pauses) <= 8


def test_with_no_seconds_there_is_one_try():
    assert Retries(0).pause(StoreUnavailableError("away"), repeatable=True) is None


def test_the_time_that_tries_took_counts():
    retries = Retries(10)
    assert retries.pause(StoreUnavailableError("away"), repeatable=True, took=1) is not None
    assert retries.pause(StoreUnavailableError("away"), repeatable=True, took=60) is None
