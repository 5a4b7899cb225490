from __future__ import annotations

import pytest

from oneseek_sandbox.errors import SandboxExpiredError
from oneseek_sandbox.leases.book import LeaseBook
from oneseek_sandbox.leases.ends import Ends
from oneseek_sandbox.leases.store import Creation, LeaseTerms, Thread
from oneseek_sandbox.testing.leases import placement

THREAD = Thread("s", "t")
NOW = 1_000_000


@pytest.fixture
def book():
    return LeaseBook(LeaseTerms(creation_ms=10, ended_ms=1000, idle_ms=100))


def make_ready(book, thread=THREAD, now_ms=NOW, sandbox_id="id"):
    creation = book.acquire(thread, now_ms=now_ms, attempt="a", sandbox_id=sandbox_id)
    assert isinstance(creation, Creation)
    return book.commit(creation, placement(), now_ms=now_ms)


def test_a_generation_is_never_below_the_time_nor_below_the_last(book):
    book.generation = NOW + 50
    first = book.acquire(THREAD, now_ms=NOW, attempt="a", sandbox_id="1")
    second = book.acquire(Thread("s", "u"), now_ms=NOW + 500, attempt="a", sandbox_id="2")
    assert (first.generation, second.generation) == (NOW + 51, NOW + 500)


def test_whoever_waits_is_told_of_commits_and_ends(book):
    lease = make_ready(book)
    assert book.notices == [THREAD]
    book.release(THREAD, now_ms=NOW, sandbox_id=lease.sandbox_id)
    assert book.notices == [THREAD, THREAD]


def test_the_longest_due_expire_first(book):
    threads = [Thread("s", name) for name in "abc"]
    for number, thread in enumerate(reversed(threads)):
        make_ready(book, thread, NOW + number, thread.thread_id)
    expired = book.expire(2, now_ms=NOW + 1000)
    assert [entry.thread.thread_id for entry in expired.doomed] == ["c", "b"]


def test_a_lease_is_over_at_its_very_millisecond(book):
    make_ready(book)
    book.pin(THREAD, now_ms=NOW + 99, sandbox_id="id", pin_id="p", limit_ms=1)
    with pytest.raises(SandboxExpiredError):
        book.pin(THREAD, now_ms=NOW + 199, sandbox_id="id", pin_id="q", limit_ms=1)


def test_what_ended_long_ago_is_dropped(book):
    make_ready(book)
    book.once("name", 100, now_ms=NOW)
    book.release(THREAD, now_ms=NOW, sandbox_id=None)
    book.expire(1, now_ms=NOW + 1000)
    assert (book.ends, book.names, book.threads) == (Ends(), {}, {})
