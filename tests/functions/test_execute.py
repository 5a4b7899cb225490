"""The function `execute`."""

from __future__ import annotations

from oneseek_sandbox.testing.verbs.execute import ExecuteContract


async def test_it_is_guarded(guarded):
    await guarded("execute")


class TestExecute(ExecuteContract):
    """The whole contract: streaming and dropped connections pass through another server here."""
