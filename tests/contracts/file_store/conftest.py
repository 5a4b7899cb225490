"""A store in a file, which the test may hurt."""

from __future__ import annotations

import contextlib

import pytest

from oneseek_sandbox.leases.file import FileLeaseStore
from oneseek_sandbox.testing.leases import LONG


@pytest.fixture
async def open_store(tmp_path):
    async with contextlib.AsyncExitStack() as stack:

        async def open_store(terms=LONG, **options):
            store = FileLeaseStore(tmp_path, terms, **options)
            stack.push_async_callback(store.close)
            await store.open()
            return store

        yield open_store


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "leases"


@pytest.fixture
def book(folder):
    return folder / "book"
