"""How long a connection bears that its peer confirms nothing, or takes nothing (ADR 25).

The kernel knows no difference between the two. What is small always finds room at the peer's, so
that it is not confirmed only when the peer is gone; an upload may have to wait for a disk.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final, Self

__all__ = ["LIVENESS", "Patience"]

_GONE_MS: Final = 9000
_UPLOAD_MS: Final = 31_000  # longer than the worker and its client wait for a piece of a body
_SMALL_BYTES: Final = 32 * 1024  # half of the window that a new connection opens
_USER_TIMEOUT: Final = getattr(socket, "TCP_USER_TIMEOUT", None)

# The network of a pod goes away without a word. Its kernel answers probes also when the worker has
# no time to; when it answers none of them, or confirms nothing that was sent, for 9 s, the
# connection ends with an error.
LIVENESS: Final = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
] + [
    (socket.IPPROTO_TCP, getattr(socket, name), value)
    for name, value in {
        "TCP_KEEPIDLE": 3,
        "TCP_KEEPINTVL": 2,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": _GONE_MS,
    }.items()
    if hasattr(socket, name)  # outside Linux some are missing
]


class Patience:
    """Bears a connection longer from the moment on that much is sent, until an answer."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sent = 0

    @classmethod
    def of(cls, connection: socket.socket) -> Self | None:
        """Return what looks after a connection; None where the other side is on this machine."""
        has_limit = _USER_TIMEOUT is not None and connection.family != socket.AF_UNIX
        return cls(connection) if has_limit else None

    def sent(self, size: int) -> None:
        """Take note of bytes that are about to be sent."""
        before, self._sent = self._sent, self._sent + size
        if before <= _SMALL_BYTES < self._sent:
            self._bear(_UPLOAD_MS)

    def answered(self) -> None:
        """Take note that something came."""
        if self._sent > _SMALL_BYTES:
            self._bear(_GONE_MS)
        self._sent = 0

    def _bear(self, milliseconds: int) -> None:
        if _USER_TIMEOUT is not None:
            with contextlib.suppress(OSError):  # it has ended already
                self._connection.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, milliseconds)
