"""A whole lease book as bytes, and back: exact, in a named format, and never torn unnoticed.

The first line says what it is, in which format, and the SHA-256 of the rest, which is JSON. Not in
it are the terms, which every process has from its settings, and notices, which are for waiters.
Pure: no I/O.
"""

from __future__ import annotations

import hashlib
import json
import operator
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

from oneseek_sandbox.leases.book import LeaseBook
from oneseek_sandbox.leases.ends import End, Ends
from oneseek_sandbox.leases.state import LeaseRecord
from oneseek_sandbox.leases.store import Doomed, Placement, Thread

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oneseek_sandbox.leases.store import LeaseTerms

__all__ = ["FORMAT", "BookFormatError", "read_book", "write_book"]

_T = TypeVar("_T", LeaseRecord, End, Doomed)

FORMAT: Final = 1
"""Of the layout; which fields there are, the content itself says."""

_HEADER: Final = re.compile(rb"oneseek-sandbox leases ([0-9]+) ([0-9a-f]{64})")
# Rows without names, and read by attrgetter: a quarter of the time of objects, and every
# transition writes them all.
_FIELDS: Final[dict[str, list[str]]] = {
    kind.__name__: [f.name for f in fields(kind) if f.name not in ("thread", "placement")]
    for kind in (LeaseRecord, Placement, End, Doomed)
}
_VALUES: Final = {
    kind.__name__: operator.attrgetter("thread.scope", "thread.thread_id", *_FIELDS[kind.__name__])
    for kind in (LeaseRecord, End, Doomed)
}
_PLACEMENT_VALUES: Final = operator.attrgetter(*_FIELDS["Placement"])


class BookFormatError(ValueError):
    """Raised for bytes that are no lease book of this format; its text completes "The file ..."."""


def write_book(book: LeaseBook) -> bytes:
    """Return the book as bytes: the same bytes as long as nothing in it changed."""
    content = {
        "fields": _FIELDS,
        "generation": book.generation,
        "records": _rows(book.records.values()),
        "placements": [_placement_row(record.placement) for record in book.records.values()],
        "ends": list(zip(book.ends.by_sandbox, _rows(book.ends.by_sandbox.values()), strict=True)),
        "last": _rows(book.ends.last.values()),
        "doomed": _rows(book.doomed.values()),
        "names": book.names,
    }
    body = json.dumps(content, separators=(",", ":")).encode("ascii")
    digest = hashlib.sha256(body).hexdigest()
    return f"oneseek-sandbox leases {FORMAT} {digest}\n".encode("ascii") + body


def read_book(data: bytes, terms: LeaseTerms) -> LeaseBook:
    """Return the book that was written.

    Raises:
        BookFormatError: It was not written so: torn, edited, foreign, or of another version.
    """
    first_line, _, body = data.partition(b"\n")
    header = _HEADER.fullmatch(first_line)
    if header is None:
        raise BookFormatError("does not begin like one: it is torn, or was written by others")
    if int(header[1]) != FORMAT:
        raise BookFormatError(
            f"has format {int(header[1])}, and this version of oneseek-sandbox knows {FORMAT}"
        )
    if hashlib.sha256(body).hexdigest().encode("ascii") != header[2]:
        raise BookFormatError("does not match its own checksum: it is torn, or was edited")
    try:
        content = json.loads(body)
        book = _book(content, terms) if content["fields"] == _FIELDS else None
    except (ValueError, TypeError, KeyError) as error:
        raise BookFormatError("holds something else than leases") from error
    if book is None:
        raise BookFormatError("was written by another version, whose leases have other fields")
    return book


def _book(content: dict[str, Any], terms: LeaseTerms) -> LeaseBook:
    records = [_item(LeaseRecord, row) for row in content["records"]]
    for record, row in zip(records, content["placements"], strict=True):
        record.placement = None if row is None else Placement(*row)
    last = [_item(End, row) for row in content["last"]]
    doomed = [_item(Doomed, row) for row in content["doomed"]]
    return LeaseBook(
        terms,
        records={record.thread: record for record in records},
        threads={record.sandbox_id: record.thread for record in records},
        ends=Ends(
            {sandbox_id: _item(End, row) for sandbox_id, row in content["ends"]},
            {end.thread: end for end in last},
        ),
        doomed={entry.uid: entry for entry in doomed},
        names=content["names"],
        generation=content["generation"],
    )


def _rows(items: Iterable[_T]) -> list[tuple[Any, ...]]:
    return [_VALUES[type(item).__name__](item) for item in items]


def _placement_row(placement: Placement | None) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = _PLACEMENT_VALUES(placement) if placement else None
    return row


def _item(kind: type[_T], row: list[Any]) -> _T:
    scope, thread_id, *values = row
    named = dict(zip(_FIELDS[kind.__name__], values, strict=True))
    return kind(thread=Thread(scope, thread_id), **named)
