"""The command line: `oneseek-sandbox`.

Everything heavy is imported by the command that needs it, so that help and completion are quick.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name, and exit with its status.

    The status is the command's own for `exec`; otherwise 0, 1 for an error, 2 for wrong usage, 69
    when the server cannot be reached and 74 when output of the command is missing.
    """
    from oneseek_sandbox.cli.app import run

    run()
