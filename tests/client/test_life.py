"""A backend may die, and there may be several: a thread has one sandbox, and its files stay."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from tests.client.conftest import KINDS

BACKEND = Path(__file__).with_name("backend.py")


@pytest.fixture
def thread():
    return f"thread-{secrets.token_hex(6)}"


@pytest.fixture
def run_and_kill(backend_environment):
    """Run a backend until it has its sandbox, end it with SIGKILL, and return what it acquired."""

    def run_and_kill(kind, thread):
        backend = subprocess.Popen(
            [sys.executable, BACKEND, thread],
            env=os.environ | backend_environment(kind),
            stdout=subprocess.PIPE,
            text=True,
        )
        with backend:
            try:
                return json.loads(backend.stdout.readline())
            finally:
                backend.kill()

    return run_and_kill


@pytest.mark.parametrize("kind", KINDS)
async def test_a_killed_backend_finds_its_sandbox_again(kind, thread, run_and_kill, new_backend):
    first, second = run_and_kill(kind, thread), run_and_kill(kind, thread)
    assert (first["reused"], second["reused"]) == (False, True)
    assert first["sandbox_id"] == second["sandbox_id"]
    sandboxes = await new_backend(kind)
    read = await sandboxes.read_file("/workspace/runs", thread_id=thread)
    assert read.content == "run\nrun\n"


@pytest.mark.parametrize("kind", KINDS)
async def test_two_backends_on_one_store_share_a_thread(kind, thread, new_backend):
    backends = [await new_backend(kind) for _ in range(2)]
    acquired = await asyncio.gather(
        *(backend.acquire(thread) for backend in backends for _ in range(8))
    )
    assert len({answer.sandbox_id for answer in acquired}) == 1
    assert [answer.reused for answer in acquired].count(False) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_an_idle_thread_gets_a_new_generation(kind, thread, new_backend):
    sandboxes = await new_backend(kind)
    old = await sandboxes.acquire(thread, idle_timeout_seconds=1)
    async with asyncio.timeout(30):
        while (await sandboxes.cleanup_idle()).expired == 0:
            await asyncio.sleep(0.2)
    new = await sandboxes.acquire(thread)
    assert new.reused is False
    assert new.generation > old.generation
