"""First process of a Docker sandbox: takes the listening socket from `listener.py` and becomes the worker.

Run as `python3 -ISE entry.py SOCKET WORKER [OPTION...]`.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import time

__all__: list[str] = []

_SECONDS = 30.0
_PAUSE_SECONDS = 0.005


def _ask(path: str) -> int:
    """Return the descriptor that is handed over there.

    Raises:
        OSError: Nobody listens there, or it closed without giving one.
    """
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_SECONDS)
        asking.connect(path)
        _, descriptors, _, _ = socket.recv_fds(asking, 1, 1)
    if not descriptors:
        raise ConnectionResetError("the listener container closed the connection")
    return descriptors[0]


def _take_listener(path: str) -> int:
    """Ask until it is given: the other container may start later than this process."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            return _ask(path)
        except OSError as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"The listening socket was not handed over: {error}") from error
        time.sleep(_PAUSE_SECONDS)


def _main() -> None:
    path, worker, *options = sys.argv[1:]
    listener = _take_listener(path)
    # Here, since some engines lose their own defaults for other limits when one is asked for.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.set_inheritable(listener, True)
    command = [sys.executable, "-I", "-S", "-E", worker, "--listen-fd", str(listener), *options]
    os.execv(sys.executable, command)  # noqa: S606


if __name__ == "__main__":
    _main()
