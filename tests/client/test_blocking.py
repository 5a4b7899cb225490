"""The blocking face's own thread."""

from __future__ import annotations

import threading

import pytest

from oneseek_sandbox.client.blocking import BlockingSandboxes
from oneseek_sandbox.client.embedded import EmbeddedSandboxes
from oneseek_sandbox.errors import SandboxError
from oneseek_sandbox.settings import Settings


def test_sandboxes_that_do_not_open_leave_no_thread_behind(tmp_path):
    (tmp_path / "home").write_text("in the way")
    before = set(threading.enumerate())
    with (
        pytest.raises((SandboxError, OSError)),
        BlockingSandboxes(EmbeddedSandboxes(Settings(home=tmp_path / "home"))),
    ):
        pass
    assert {t for t in threading.enumerate() if t.name == "oneseek-sandbox"} <= before
