"""What is on disk of a sandbox."""

from __future__ import annotations

from oneseek_sandbox.runtimes.local import liveness

__all__ = ["left_behind", "status"]


def status(home, sandbox):
    return liveness.read_status(home / "sandboxes" / sandbox.name / "status")


def left_behind(home):
    """Everything below the home that a sandbox leaves when it was not cleaned up."""
    folders = ("sandboxes", "ending", "users")
    return [path.name for folder in folders for path in (home / folder).iterdir()]
