"""Other processes that use the same lease file."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

__all__ = ["RACER", "WRITER", "run"]

RACER = Path(__file__).parents[1] / "racing_acquirer.py"
WRITER = Path(__file__).with_name("dying_writer.py")


async def run(program, *arguments):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(program), *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
