"""A person at a terminal, who runs the command line and reads the screen."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time

__all__ = ["PROGRAM", "Person"]

PROGRAM = [sys.executable, "-m", "oneseek_sandbox.cli"]


class Person:
    """Sits at a terminal in which the program runs."""

    def __init__(self, environment, *arguments, size=(90, 20), program=(*PROGRAM, "shell")):
        self.master, self.terminal = os.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self.terminal)
        self.shown = b""
        self.seen = b""
        self.process = subprocess.Popen(
            [*program, *arguments],
            stdin=self.terminal,
            stdout=self.terminal,
            stderr=self.terminal,
            env=environment,
            start_new_session=True,
        )

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.master, keys)

    def look(self, seconds=0.1):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        data = os.read(self.master, 65_536)
        self.shown += data
        self.seen += data
        return True

    def read_until(self, pattern):
        deadline = time.monotonic() + 60
        while not (found := re.search(pattern, self.shown)):
            assert time.monotonic() < deadline, self.shown
            self.look()
        shown, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return shown

    def ended(self):
        """Wait until the program has ended; returns its status, and checks the terminal."""
        deadline = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.shown
            self.look()
        while self.look(0):
            pass
        assert termios.tcgetattr(self.terminal) == self.before
        return self.process.returncode

    def leave(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.terminal)
