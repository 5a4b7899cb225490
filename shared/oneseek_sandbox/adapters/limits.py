"""What every adapter assumes of a server that it is not told about."""

from __future__ import annotations

from typing import Final

__all__ = ["LONGEST_COMMAND_SECONDS"]

LONGEST_COMMAND_SECONDS: Final = 570.0
"""Timeout of commands that name none: the longest that both one server and the functions on Knative
allow by default."""
