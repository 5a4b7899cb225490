"""The terminal that this program runs in: given raw to a shell elsewhere, and set back."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import termios
import threading
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.cli.failure import EXIT_USAGE, CommandLineError
from oneseek_sandbox.cli.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ENDING_SIGNALS", "SIZE_SIGNALS", "OwnTerminal"]

ENDING_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
SIZE_SIGNALS: Final = (signal.SIGWINCH, signal.SIGCONT)
_IN, _OUT = 0, 1
_MOST: Final = 1000
_PATIENCE_SECONDS: Final = 2.0


class OwnTerminal:
    """Standard input and output, which are a terminal.

    Raises:
        CommandLineError: One of them is none.
    """

    def __init__(self) -> None:
        for fd, name in ((_IN, "input"), (_OUT, "output")):
            if not os.isatty(fd):
                raise CommandLineError(
                    f"shell needs a terminal, and standard {name} is none; use exec", EXIT_USAGE
                )
        self._screen = Screen()
        self._writing = threading.Lock()
        self._is_raw = False
        self._before = termios.tcgetattr(_IN)

    @property
    def spec(self) -> dict[str, int | str]:
        """Size and kind, as a request has them."""
        term = os.environ.get("TERM", "")  # noqa: TID251
        is_known = re.fullmatch("[A-Za-z0-9][A-Za-z0-9+._-]{0,63}", term)
        return {**self.size, "term": term if is_known else "xterm-256color"}

    @property
    def size(self) -> dict[str, int]:
        """Columns and rows, as a request has them."""
        columns, rows = os.get_terminal_size(_OUT)
        return {"columns": min(columns or 80, _MOST), "rows": min(rows or 24, _MOST)}

    @contextmanager
    def raw(self, wake: int) -> Iterator[None]:
        """Give every key to the reader inside; afterwards, however it ends, set everything back.

        Args:
            wake: A non-blocking descriptor that is written the numbers of signals that come.
        """
        before = {
            number: signal.signal(number, _ignore) for number in (*ENDING_SIGNALS, *SIZE_SIGNALS)
        }
        told_before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        try:
            self.make_raw()
            yield
        finally:
            self._set_back()
            signal.set_wakeup_fd(told_before)
            for number, handler in before.items():
                signal.signal(number, handler)

    def make_raw(self) -> None:
        """Make it raw, also again after somebody else has had it."""
        tty.setraw(_IN, termios.TCSADRAIN)
        self._is_raw = True

    def show(self, data: bytes) -> None:
        """Show what a sandbox printed, as far as it is harmless."""
        with self._writing:
            if self._is_raw:
                _write(self._screen.feed(data))

    def _set_back(self) -> None:
        # Somebody may be stuck in writing to it; then only its modes can be set.
        is_free = self._writing.acquire(timeout=_PATIENCE_SECONDS)
        self._is_raw = False
        with contextlib.suppress(OSError, termios.error):  # it is gone
            if is_free:
                _write(self._screen.reset())
            # What was typed, or answered by the terminal, is no input of what runs here next.
            termios.tcflush(_IN, termios.TCIFLUSH)
            termios.tcsetattr(_IN, termios.TCSANOW, self._before)
        if is_free:
            self._writing.release()


def _ignore(*_: object) -> None:
    """Handle a signal by its number alone, which the wake-up descriptor is written."""


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(_OUT, data) :]
