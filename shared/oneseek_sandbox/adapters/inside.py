"""Programs of ours that run inside a sandbox for the adapters: how they are called, and how they fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oneseek_sandbox.errors import InternalError, SandboxUnavailableError
from oneseek_sandbox.guest.bundle import bundle

if TYPE_CHECKING:
    from oneseek_sandbox.models import ExecuteAnswer

__all__ = ["check_done", "no_answer", "program"]


def program(name: str) -> tuple[str, ...]:
    """Return the command that runs a program of `guest/`; its input is a JSON object."""
    # Isolated, so that nothing in the workspace can pass for a module of the library.
    return ("python3", "-IS", "-c", bundle(name).decode())


def check_done(ended: ExecuteAnswer, do: str, *, if_killed: str) -> None:
    """Refuse what a program left behind that did not come to its end.

    Args:
        do: What it was to do.
        if_killed: What is said when it was killed, after why.

    Raises:
        SandboxUnavailableError: It was killed.
        InternalError: It failed.
    """
    if ended.timed_out or ended.killed_by:
        raise SandboxUnavailableError(
            f"The {do} in the sandbox was ended ({ended.killed_by}){if_killed}."
        )
    if ended.exit_code != 0:
        raise InternalError(
            f"The {do} in the sandbox failed with exit code {ended.exit_code}: "
            f"{ended.stderr.strip()[-500:]}"
        )


def no_answer(do: str) -> SandboxUnavailableError:
    """Return the error for what is no answer of such a program."""
    # What is in the sandbox may say anything, so nothing of it is repeated.
    return SandboxUnavailableError(
        f"What the {do} in the sandbox printed is not an answer. Is its python3 the image's own?"
    )
