"""What a stage of the whole run leaves running is ended with it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "tools" / "contained.py"
# In sessions of their own, and below a process that has ended.
LEAVING = "(setsid sh -c 'sleep 1000 & echo $!; sleep 1000 & echo $!; wait' &) | head -2"


@pytest.mark.parametrize(("end", "code"), [("exit 3", 3), ("kill -9 $$", 137), ("true", 0)])
def test_what_a_command_leaves_is_ended_and_its_own_end_passed_on(end, code):
    command = [PROGRAM, "sh", "-c", f"{LEAVING}; {end}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (code, "")
    left = [line for line in ran.stdout.splitlines() if line.isdigit()]
    assert len(left) == 2
    assert [pid for pid in left if Path(f"/proc/{pid}").exists()] == []
    assert ran.stdout.count("left running, and ended: ") == 3
