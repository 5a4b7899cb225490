"""What many tests of files ask of a worker, and look at."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from tests.guest.client import Client, Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def sha256(data: bytes) -> str:
    """Return the digest as the worker writes it."""
    return hashlib.sha256(data).hexdigest()


def refusal(call: Callable[[], Any]) -> tuple[int, str]:
    """Return status and code of a call that must be refused."""
    with pytest.raises(Refused) as refused:
        call()
    return refused.value.status, refused.value.code


def names(path: Path) -> set[str]:
    """Return what is in a directory."""
    return {entry.name for entry in path.iterdir()}


def listing(client: Client, home: Path, **fields: Any) -> list[str]:
    """Return what `ls` shows of a directory, below it."""
    entries = client.call("/ls", **{"path": str(home), **fields})["entries"]
    return [entry["path"].removeprefix(f"{home}/") for entry in entries]
