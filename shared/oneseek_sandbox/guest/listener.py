"""First process of a Docker sandbox's listener container: opens its socket, hands it over, waits.

The sandbox has no network. Its worker listens all the same, on a socket of this container's
network, which it gets once, over a unix socket in a volume that the sandbox sees read-only. Once it
is given nobody here holds it, and nobody inside can get it: the way in is the worker's alone.

Run as `python3 -ISE listener.py SOCKET PORT [MESSAGE...]`; the messages are netlink's, in hex, and close
ranges of addresses.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys

__all__: list[str] = []


def _send(messages: list[bytes]) -> None:
    """Send netlink messages, and end when the kernel does not do as they say."""
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    for message in messages:
        netlink.send(message)
        result = -int.from_bytes(netlink.recv(4096)[16:20], sys.byteorder, signed=True)
        # Kernels without IPv6 have nothing to close there.
        if result not in (0, errno.EEXIST, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
            raise SystemExit(f"A range of addresses was not closed: {os.strerror(result)}")
    netlink.close()


def _hand_over(listener: socket.socket, path: str) -> None:
    """Give the listener to the first who asks: the sandbox's first process, before any other."""
    if os.path.lexists(path):
        os.unlink(path)
    giving = socket.socket(socket.AF_UNIX)
    giving.bind(path)
    os.chmod(path, 0o666)  # noqa: S103 - only the sandbox sees it
    giving.listen(1)
    asking, _ = giving.accept()
    giving.close()
    os.unlink(path)
    socket.send_fds(asking, [b"!"], [listener.fileno()])
    asking.close()
    listener.close()


def _main() -> None:
    path, port, *messages = sys.argv[1:]
    if messages:
        _send([bytes.fromhex(text) for text in messages])
    listener = socket.create_server(("0.0.0.0", int(port)), backlog=128)  # noqa: S104 - its own
    # As PID 1 it would ignore what has no handler; engines ask with SIGTERM before they kill.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    _hand_over(listener, path)
    while True:
        signal.pause()  # the network lives as long as this process


if __name__ == "__main__":
    _main()
