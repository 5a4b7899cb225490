"""Looking on from outside must not change what the servers see."""

from __future__ import annotations

import pytest
from tests.faults.live.outside import LOG, RunLog

from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.local.record import Record
from oneseek_sandbox.runtimes.runtime import Labels

pytestmark = pytest.mark.faults


@pytest.fixture
def workspace(tmp_path):
    """The workspace of a sandbox that was made and given to nobody yet."""
    folder = tmp_path / "sandboxes" / "t-1"
    (folder / "workspace").mkdir(parents=True)
    labels = Labels(Thread("default", "t"), generation=1, idle_ms=1_000, sandbox_id="a" * 32)
    (folder / "object.json").write_text(Record("u" * 32, "t-1", labels).to_json())
    return folder / "workspace"


@pytest.fixture
def log(tmp_path, workspace):
    log = RunLog(tmp_path)
    yield log
    log.close()


@pytest.mark.finding(7)
def test_a_workspace_stays_empty_until_somebody_was_given_the_sandbox(log, workspace):
    """Whoever takes a sandbox over tells by its empty workspace that it is still news."""
    log.look()
    assert not list(workspace.iterdir())
    assert list(log.seen) == ["t-1"]


def test_a_command_is_counted_also_when_the_files_are_gone_since(log, workspace):
    log.look()
    log.begin("a" * 32)
    (workspace / LOG).write_text("once-1\n")
    (workspace / LOG).unlink()
    log.look()
    assert log.counts() == {"once-1": 1}


def test_a_log_that_a_command_began_is_found(log, workspace):
    log.look()
    (workspace / LOG).write_text("once-1\n")
    log.look()
    assert log.counts() == {"once-1": 1}
