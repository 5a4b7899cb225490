"""Workers as root, as an ordinary user, and as PID 1 of a process namespace."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.bubblewrap import bubblewrap
from tests.guest.client import Client, WorkerProcess, worker_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Not shared with another run of the tests, whose processes would count as of the same user.
UNUSED_UID = 50_000 + os.getpid() % 10_000
# Where processes are counted: those of the worker before may not all be gone yet.
_UIDS_OF_ONE = itertools.count(100_000 + os.getpid() % 10_000 * 100)
MODES = ["root", "user", "first"] if os.geteuid() == 0 else ["user", "first"]


@functools.cache
def python_for(uid: int | None) -> str:
    """Return an interpreter that this user can run."""
    user = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
    for name in (sys.executable, sys.base_prefix + "/bin/python3", *all_on_path("python3")):
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            subprocess.run([name, "-I", "-S", "-c", ""], check=True, cwd="/", **user)
            return name
    raise AssertionError(f"no interpreter that user {uid} can run")


def all_on_path(name: str) -> list[str]:
    """Return every program of this name on PATH."""
    folders = os.get_exec_path()
    return [found for folder in folders if (found := shutil.which(name, path=folder))]


def as_first_process(folder: Path) -> list[str]:
    """Return the bubblewrap command that makes the worker PID 1."""
    return [
        bubblewrap(), "--unshare-user", "--unshare-pid", "--as-pid-1", "--die-with-parent",
        "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run",
        "--bind", str(folder), str(folder), "--",
    ]  # fmt: skip


def start_in_mode(mode: str, *options: str) -> contextlib.AbstractContextManager[WorkerProcess]:
    uid = UNUSED_UID if mode != "root" and os.geteuid() == 0 else None
    prefix = as_first_process if mode == "first" else None
    return worker_process(*options, python=python_for(uid), uid=uid, prefix=prefix)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """How a worker runs: what depends on users or processes is proved in each way.

    A module whose subject depends on neither has a fixture of this name that is "first", as in
    every sandbox.
    """
    return str(request.param)


@pytest.fixture
def worker(mode: str) -> Iterator[WorkerProcess]:
    """A claimed worker, in each mode."""
    with start_in_mode(mode) as process:
        process.client().claim()
        yield process


@pytest.fixture
def first() -> Iterator[WorkerProcess]:
    """A claimed worker that is PID 1."""
    with start_in_mode("first") as process:
        process.client().claim()
        yield process


@contextlib.contextmanager
def few_processes_worker(*options: str) -> Iterator[WorkerProcess]:
    """Give a claimed worker that is PID 1 where 40 processes are the most."""
    uid = next(_UIDS_OF_ONE) if os.geteuid() == 0 else None
    python = python_for(UNUSED_UID if uid else None)

    def prefix(folder: Path) -> list[str]:
        return [*as_first_process(folder), "prlimit", "--nproc=40:40"]

    with worker_process(*options, python=python, uid=uid, prefix=prefix) as process:
        process.client().claim()
        yield process


@pytest.fixture
def few_processes() -> Iterator[WorkerProcess]:
    """A claimed worker that is PID 1 where 40 processes are the most."""
    with few_processes_worker() as process:
        yield process


@pytest.fixture
def small_disk() -> Iterator[WorkerProcess]:
    """A claimed worker whose workspace has 1 MiB."""
    uid = UNUSED_UID if os.geteuid() == 0 else None

    def prefix(folder: Path) -> list[str]:
        small = ["--size", str(1 << 20), "--tmpfs", str(folder / "workspace"), "--"]
        return [*as_first_process(folder)[:-1], *small]

    with worker_process(python=python_for(uid), uid=uid, prefix=prefix) as process:
        process.client().claim()
        yield process


@pytest.fixture
def start() -> Iterator[Callable[..., WorkerProcess]]:
    """Starts further workers that nobody claimed, with options."""
    with contextlib.ExitStack() as stack:
        yield lambda *options, **changes: stack.enter_context(worker_process(*options, **changes))


@pytest.fixture(scope="module")
def steady() -> Iterator[Client]:
    """A client of one worker that outlives many small tests."""
    with start_in_mode(MODES[0]) as process:
        client = process.client()
        client.claim()
        yield client


@pytest.fixture
def steady_home(steady: Client) -> Path:
    return Path(steady.address).parent / "workspace"


@pytest.fixture
def client(worker: WorkerProcess) -> Client:
    return worker.client()


@pytest.fixture
def home(worker: WorkerProcess) -> Path:
    return worker.workspace
