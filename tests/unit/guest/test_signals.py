"""A signal reaches the process that was meant, and none that got its number since."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from typing import TYPE_CHECKING, NoReturn

import pytest

from oneseek_sandbox.guest.worker.processes import read_process, signal_exactly

if TYPE_CHECKING:
    from collections.abc import Iterator

ERRORS = {
    "a kernel that has none": OSError(errno.ENOSYS, "no pidfds"),
    "a filter that forbids them": OSError(errno.EPERM, "no pidfds"),
    "a Python that has none": AttributeError("pidfd_open"),
}


@pytest.fixture(params=["as usual", *ERRORS], autouse=True)
def pidfds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processes can be held by a descriptor, and where not."""

    def pidfd_open(_: int) -> NoReturn:
        raise ERRORS[request.param]

    if request.param in ERRORS:
        monkeypatch.setattr(os, "pidfd_open", pidfd_open)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def begin_of(process: subprocess.Popen[bytes]) -> int:
    found = read_process(process.pid)
    assert found is not None
    return found.begin


def test_it_reaches_the_process_that_began_then(sleeper: subprocess.Popen[bytes]) -> None:
    assert signal_exactly(sleeper.pid, begin_of(sleeper), signal.SIGTERM)
    assert sleeper.wait(60) == -signal.SIGTERM


def test_it_spares_another_of_the_same_number(sleeper: subprocess.Popen[bytes]) -> None:
    assert not signal_exactly(sleeper.pid, begin_of(sleeper) - 1, signal.SIGTERM)
    assert sleeper.poll() is None


def test_it_reaches_nobody_once_the_process_has_ended(sleeper: subprocess.Popen[bytes]) -> None:
    begin = begin_of(sleeper)
    sleeper.kill()
    sleeper.wait()
    assert not signal_exactly(sleeper.pid, begin, signal.SIGTERM)
