"""How long a connection bears that its peer confirms nothing, or takes nothing (ADR 25).

The kernel knows no difference between the two. What is small always finds room at the peer's, so
that it is not confirmed only when the peer is gone; an upload may have to wait for a disk.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final

from httpcore import AsyncNetworkStream

if TYPE_CHECKING:
    import ssl

__all__ = ["LIVENESS", "PatientStream"]

_GONE_MS: Final = 9000
_UPLOAD_MS: Final = 31_000  # longer than the worker and its client wait for a piece of a body
_SMALL_BYTES: Final = 32 * 1024  # half of the window that a new connection opens
_USER_TIMEOUT: Final = getattr(socket, "TCP_USER_TIMEOUT", None)

# The network of a pod goes away without a word. Its kernel answers probes also when the worker has
# no time to; when it answers none of them, or confirms nothing that was sent, for 9 s, the
# connection ends with an error.
LIVENESS: Final = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
    (socket.IPPROTO_TCP, getattr(socket, name), value)
    for name, value in {
        "TCP_KEEPIDLE": 3,
        "TCP_KEEPINTVL": 2,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": _GONE_MS,
    }.items()
    if hasattr(socket, name)  # outside Linux some are missing
]


class PatientStream(AsyncNetworkStream):
    """A connection that is borne longer from the moment on that much is sent, until an answer."""

    def __init__(self, stream: AsyncNetworkStream) -> None:
        self._stream = stream
        self._sent = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what comes."""
        data = await self._stream.read(max_bytes, timeout)
        if self._sent > _SMALL_BYTES:
            self._bear(_GONE_MS)
        self._sent = 0
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of it."""
        before, self._sent = self._sent, self._sent + len(buffer)
        if before <= _SMALL_BYTES < self._sent:
            self._bear(_UPLOAD_MS)
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close it."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> AsyncNetworkStream:
        """Never asked for: a worker speaks in the clear."""
        return await self._stream.start_tls(ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - the port's
        """Return what is known of the connection."""
        return self._stream.get_extra_info(info)

    def _bear(self, milliseconds: int) -> None:
        if _USER_TIMEOUT is not None:
            connection = self._stream.get_extra_info("socket")
            with contextlib.suppress(OSError):  # it has ended already
                connection.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, milliseconds)
