"""A book is the same after it was written and read, or it is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import operator
import random

import pytest

from oneseek_sandbox.errors import SandboxError
from oneseek_sandbox.leases import serialization
from oneseek_sandbox.leases.book import LeaseBook
from oneseek_sandbox.leases.serialization import BookFormatError, read_book, write_book
from oneseek_sandbox.leases.store import LeaseTerms, Thread
from oneseek_sandbox.testing.leases import placement

NOW = 1_700_000_000_000
TERMS = LeaseTerms(creation_ms=50, ended_ms=500, idle_ms=100, lifetime_ms=400)
THREADS = [
    Thread("s", "a"),
    Thread("s", ""),
    Thread("", "s"),
    Thread("größe\n{}\x00", '"🦊\\u0000'),
    Thread("\ud800", "lone surrogate"),
]


def walk(seed, steps=400):
    """Yield one book in the states that a random sequence of transitions leads it through."""
    chance, book, now_ms = random.Random(seed), LeaseBook(TERMS), NOW
    creations, leases = [], []

    def acquire(thread):
        outcome = book.acquire(
            thread,
            now_ms=now_ms,
            attempt=f"a{chance.randrange(9)}",
            sandbox_id=f"{chance.randrange(16**8):08x}",
            idle_ms=chance.choice([None, 300]),
        )
        creations.extend([outcome] if hasattr(outcome, "attempt") else [])

    def commit(_):
        made = dataclasses.replace(
            placement(), warm=chance.random() < 0.5, restarted=chance.random() < 0.5
        )
        leases.append(book.commit(chance.choice(creations[-4:]), made, now_ms=now_ms))

    def restart(thread):
        lease = book.records[thread].lease(now_ms)
        creations.append(book.restart(lease, now_ms=now_ms, attempt="r"))

    def pin(thread):
        request = chance.choice("abc")
        book.pin(
            thread,
            now_ms=now_ms,
            sandbox_id=None,
            pin_id=f"p{now_ms}",
            limit_ms=200,
            request=request,
        )

    calls = [acquire, acquire, commit, commit, commit, pin, restart]
    calls += [
        lambda _: book.suspect(chance.choice(leases[-4:])),
        lambda _: book.lose(chance.choice(leases[-4:]), now_ms=now_ms),
        lambda _: book.abandon(creations[-1], now_ms=now_ms, uid=f"u{now_ms}", name="n"),
        lambda thread: book.release(thread, now_ms=now_ms, sandbox_id=None),
        lambda _: book.expire(1, now_ms=now_ms),
        lambda _: book.once(f"name {chance.randrange(3)}", 300, now_ms=now_ms),
        lambda _: book.doomed.pop(next(iter(book.doomed), ""), None),
    ]
    for _ in range(steps):
        now_ms += chance.choice([0, 1, 30])
        try:
            chance.choice(calls)(chance.choice(THREADS))
        except (SandboxError, IndexError, KeyError, AttributeError):
            continue
        book.notices.clear()
        yield book


def full_book():
    """Return a book with something of everything in it."""
    book = max(walk(1), key=lambda book: len(write_book(book)))
    return read_book(write_book(book), TERMS)


@pytest.mark.parametrize("seed", range(5))
def test_a_book_is_the_same_after_it_was_written_and_read(seed):
    seen = set()
    for book in walk(seed):
        data = write_book(book)
        read = read_book(data, TERMS)
        assert read == book
        assert list(read.doomed) == list(book.doomed), "the order in which they were doomed"
        assert write_book(read) == data
        seen |= {record.state for record in book.records.values()}
        seen |= {
            name
            for name, there in {
                "suspect": any(record.suspect for record in book.records.values()),
                "pinned": any(record.pins for record in book.records.values()),
                "noted": any(record.requests for record in book.records.values()),
                "doomed": book.doomed,
                "ended": book.ends.by_sandbox,
                "once": book.names,
            }.items()
            if there
        }
    assert seen == {
        *("creating", "ready", "restarting"),
        *("suspect", "pinned", "noted", "doomed", "ended", "once"),
    }


def test_a_book_that_was_read_goes_on_like_the_one_that_was_written():
    book = full_book()
    twin = read_book(write_book(book), TERMS)
    for each in (book, twin):
        each.acquire(Thread("s", "new"), now_ms=NOW, attempt="a", sandbox_id="f" * 8)
        each.expire(100, now_ms=NOW + 10**6)
    assert twin == book


def test_nothing_of_a_book_is_left_out():
    # What is new here has to be written, too; these are not, for the reasons that the module gives.
    assert {field.name for field in dataclasses.fields(LeaseBook)} == {
        *("records", "ends", "doomed", "names", "generation"),
        *("terms", "notices", "threads"),
    }


def test_a_file_cut_anywhere_is_refused():
    data = write_book(full_book())
    assert len(data) > 1500
    for length in range(len(data)):
        with pytest.raises(BookFormatError):
            read_book(data[:length], TERMS)
    with pytest.raises(BookFormatError):
        read_book(data + b"\0", TERMS)


def test_a_file_with_any_bit_turned_is_refused():
    data = write_book(full_book())
    for number in range(8 * len(data)):
        torn = bytearray(data)
        torn[number // 8] ^= 1 << number % 8
        with pytest.raises(BookFormatError):
            read_book(bytes(torn), TERMS)


@pytest.mark.finding(2)
def test_a_file_of_before_requests_were_noted_is_read(monkeypatch):
    book = full_book()
    for record in book.records.values():
        record.requests.clear()
    now = serialization._FIELDS
    before = now | {"LeaseRecord": [name for name in now["LeaseRecord"] if name != "requests"]}
    values = operator.attrgetter("thread.scope", "thread.thread_id", *before["LeaseRecord"])
    with monkeypatch.context() as patched:
        patched.setattr(serialization, "_FIELDS", before)
        patched.setitem(serialization._VALUES, "LeaseRecord", values)
        data = write_book(book)
    assert b'"requests"' not in data
    assert read_book(data, TERMS) == book


@pytest.mark.parametrize("data", [b"", b"\n", b"{}", b"\0" * 5000, b"\xff\n" * 9])
def test_a_foreign_file_is_refused(data):
    with pytest.raises(BookFormatError, match="does not start like a lease file"):
        read_book(data, TERMS)


def test_a_file_of_another_format_is_refused_as_that():
    data = write_book(LeaseBook(TERMS)).replace(b"leases 1 ", b"leases 27 ", 1)
    with pytest.raises(BookFormatError, match="has format 27"):
        read_book(data, TERMS)


def test_a_file_of_a_later_version_is_refused_as_that(monkeypatch):
    data = write_book(full_book())
    fields = serialization._FIELDS
    monkeypatch.setattr(serialization, "_FIELDS", fields | {"End": fields["End"][:-1]})
    with pytest.raises(BookFormatError, match="later version"):
        read_book(data, TERMS)


def test_a_file_with_a_state_of_a_later_version_is_refused_as_that():
    book = full_book()
    next(iter(book.records.values())).state = "stopped"
    with pytest.raises(BookFormatError, match="later version"):
        read_book(write_book(book), TERMS)


def test_a_file_of_an_earlier_version_is_read_with_defaults_for_what_it_lacks():
    book = full_book()
    first_line, _, body = write_book(book).partition(b"\n")
    content = json.loads(body)
    lacking = content["fields"]["Placement"].index("restarted")
    del content["fields"]["Placement"][lacking]
    for row in filter(None, content["placements"]):
        del row[lacking]
    body = json.dumps(content).encode()
    digest = hashlib.sha256(body).hexdigest().encode()
    read = read_book(b" ".join([*first_line.split(b" ")[:-1], digest]) + b"\n" + body, TERMS)
    for record in book.records.values():
        if record.placement:
            record.placement = dataclasses.replace(record.placement, restarted=False)
    assert read == book


@pytest.mark.parametrize(
    "body", ["[]", "{}", "null", "1" * 9, json.dumps({"fields": serialization._FIELDS}), "{"]
)
def test_a_file_that_holds_something_else_is_refused(body, monkeypatch):
    monkeypatch.setattr(json, "dumps", lambda *_, **__: body)
    data = write_book(LeaseBook(TERMS))
    with pytest.raises(BookFormatError):
        read_book(data, TERMS)
