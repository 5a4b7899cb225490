"""A whole lease book as bytes, and back: exact, in a named format, and never torn unnoticed.

The first line says what it is, in which format, and the SHA-256 of the rest, which is JSON. A file of
an earlier version is read as it is; one that says what this version does not know is refused. Not in
it are the terms, which every process has from its settings, and notices, which are for waiters.
Pure: no I/O.
"""

from __future__ import annotations

import hashlib
import json
import operator
import re
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

from oneseek_sandbox.leases.book import LeaseBook
from oneseek_sandbox.leases.ends import End, Ends
from oneseek_sandbox.leases.state import STATES, LeaseRecord
from oneseek_sandbox.leases.store import Doomed, Placement, Thread

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oneseek_sandbox.leases.store import LeaseTerms

__all__ = ["FORMAT", "BookFormatError", "read_book", "write_book"]

_T = TypeVar("_T", LeaseRecord, End, Doomed)
_Kind = type[LeaseRecord] | type[Placement] | type[End] | type[Doomed]

FORMAT: Final = 1
"""Of the layout; which fields there are, the content itself says."""

_HEADER: Final = re.compile(rb"oneseek-sandbox leases ([0-9]+) ([0-9a-f]{64})")
# Rows without names, and read by attrgetter: a quarter of the time of objects, and every
# transition writes them all.
_KINDS: Final[tuple[_Kind, ...]] = (LeaseRecord, Placement, End, Doomed)
_FIELDS: Final[dict[str, list[str]]] = {
    kind.__name__: [f.name for f in fields(kind) if f.name not in ("thread", "placement")]
    for kind in _KINDS
}
# What a file of an earlier version lacks has a default; what has none was always there.
_LATER: Final = {
    kind.__name__: {
        f.name for f in fields(kind) if f.default is not MISSING or f.default_factory is not MISSING
    }
    for kind in _KINDS
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
        raise BookFormatError(
            "does not start like a lease file: it is incomplete, or another program wrote it"
        )
    if int(header[1]) != FORMAT:
        raise BookFormatError(
            f"has format {int(header[1])}, and this version of oneseek-sandbox knows {FORMAT}"
        )
    if hashlib.sha256(body).hexdigest().encode("ascii") != header[2]:
        raise BookFormatError("does not match its checksum: it is incomplete, or was edited")
    try:
        content = json.loads(body)
        written: dict[str, list[str]] = content["fields"]
        book = _book(content, written, terms) if _is_known(written) else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BookFormatError("contains something other than leases") from error
    if book is None or any(record.state not in STATES for record in book.records.values()):
        raise BookFormatError(
            "was written by a later version, with fields that this one does not know"
        )
    return book


def _is_known(written: dict[str, list[str]]) -> bool:
    """Return whether this version knows all that a file says, and can do without what it does not."""
    return written.keys() == _FIELDS.keys() and all(
        set(names) <= set(_FIELDS[kind]) and set(_FIELDS[kind]) - set(names) <= _LATER[kind]
        for kind, names in written.items()
    )


def _book(content: dict[str, Any], written: dict[str, list[str]], terms: LeaseTerms) -> LeaseBook:
    records = [_item(LeaseRecord, written, row) for row in content["records"]]
    for record, row in zip(records, content["placements"], strict=True):
        named = None if row is None else dict(zip(written["Placement"], row, strict=True))
        record.placement = None if named is None else _placement(named)
    last = [_item(End, written, row) for row in content["last"]]
    doomed = [_item(Doomed, written, row) for row in content["doomed"]]
    return LeaseBook(
        terms,
        records={record.thread: record for record in records},
        threads={record.sandbox_id: record.thread for record in records},
        ends=Ends(
            {sandbox_id: _item(End, written, row) for sandbox_id, row in content["ends"]},
            {end.thread: end for end in last},
        ),
        doomed={entry.uid: entry for entry in doomed},
        names=content["names"],
        generation=content["generation"],
    )


def _placement(named: dict[str, Any]) -> Placement:
    return Placement(**named | {"features": tuple(named.get("features", ()))})


def _rows(items: Iterable[_T]) -> list[tuple[Any, ...]]:
    return [_VALUES[type(item).__name__](item) for item in items]


def _placement_row(placement: Placement | None) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = _PLACEMENT_VALUES(placement) if placement else None
    return row


def _item(kind: type[_T], written: dict[str, list[str]], row: list[Any]) -> _T:
    scope, thread_id, *values = row
    named = dict(zip(written[kind.__name__], values, strict=True))
    return kind(thread=Thread(scope, thread_id), **named)
