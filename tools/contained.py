#!/usr/bin/env python3
"""Runs a command, and then ends what it left running, whatever that did to be left alone.

    tools/contained.py COMMAND [ARGUMENT...]

A process whose parent ends becomes a child of this one, so only own children are ever killed: a
number of theirs is nobody else's before it is waited for. Exits as the command does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def children() -> list[int]:
    """Return the processes whose parent this one is, ended ones too."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_bytes()
        except OSError:  # it has ended
            continue
        if int(stat[stat.rindex(b")") + 2 :].split()[1]) == os.getpid():
            found.append(int(folder.name))
    return found


def end_what_is_left() -> None:
    """Kill the children, and theirs, which become children by that; say what they were."""
    while left := children():
        for pid in left:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            if words:  # none has one that has ended
                print(f"left running, and ended: {pid} {words.decode(errors='replace')[:200]}")
            os.kill(pid, signal.SIGKILL)
        for pid in left:
            os.waitpid(pid, 0)


def main(command: list[str]) -> int:
    """Run the command, and return what a shell would call its exit status."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started = subprocess.Popen(command)
    try:
        while True:
            pid, status = os.wait()
            if pid == started.pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
    finally:
        end_what_is_left()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
