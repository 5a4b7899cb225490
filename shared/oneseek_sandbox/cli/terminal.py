"""What is printed, and where: answers on stdout, remarks on stderr."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from oneseek_sandbox.output import printable

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = [
    "human_age",
    "human_size",
    "note",
    "note_killed",
    "print_json",
    "print_line",
    "print_table",
    "printable",
    "transfer_progress",
]

_PIPE_COLUMNS = 10_000
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def print_line(text: str = "") -> None:
    """Print a line of an answer."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Print a remark on stderr."""
    sys.stdout.flush()
    sys.stderr.write(f"oneseek-sandbox: {text}\n")
    sys.stderr.flush()


def note_killed(killed_by: str | None, seconds: float) -> None:
    """Print why a command was killed after so many seconds; nothing if it was not."""
    if killed_by == "timeout":
        note(f"timed out after {seconds:g} s (--timeout)")
    elif killed_by:
        note(f"killed after {seconds:g} s: {killed_by}")


def print_json(answer: dict[str, Any]) -> None:
    """Print an answer as JSON, in ASCII so that every terminal and pipe carries it."""
    print_line(json.dumps(answer, indent=2))


def print_table(headings: list[str], rows: list[list[str]]) -> None:
    """Print rows in columns; nothing is cut, and into a pipe a row is a line."""
    from rich.console import Console
    from rich.table import Table

    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(printable, row))
    Console(width=width, highlight=False, markup=False, emoji=False).print(table)


def human_size(size: int) -> str:
    """Return bytes with a unit, in at most seven characters."""
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1000 or unit == "TiB":
            break
    return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"


def human_age(when: str, now: datetime | None = None) -> str:
    """Return how far an ISO 8601 time is from now: `12 s ago`, `in 15 min`."""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(when)).total_seconds()
    distance = abs(seconds)
    if distance < 2 * _MINUTE:
        text = f"{distance:.0f} s"
    elif distance < 2 * _HOUR:
        text = f"{distance / _MINUTE:.0f} min"
    elif distance < 2 * _DAY:
        text = f"{distance / _HOUR:.0f} h"
    else:
        text = f"{distance / _DAY:.0f} d"
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def transfer_progress() -> Progress:
    """Return a bar for bytes under way, on stderr, and only on a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
