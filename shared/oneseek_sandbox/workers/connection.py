"""Connections to workers: literal addresses only, proved before anything is sent.

An `httpcore` network backend. Every sandbox is an origin of its own in one connection pool; opening
a connection to it asks the other side for its proof (docs/worker-protocol.md), so that an address
which another sandbox got meanwhile receives nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpcore
from httpcore import AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream

from oneseek_sandbox.errors import SandboxLostError, SandboxUnavailableError
from oneseek_sandbox.workers.patience import LIVENESS, PatientStream

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PROTOCOLS", "Peer", "ProvedBackend", "unknown_protocol"]

PROTOCOLS: Final = (1,)
"""Versions of the worker's protocol that this client speaks."""

_PROOF_BYTES: Final = 8192
_PROOF_SECONDS: Final = 5.0
_wanted: ContextVar[Peer] = ContextVar("_wanted")
"""Whom the request of this context is for: the pool opens a connection in a request's own task."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The worker a connection must lead to.

    Attributes:
        address: `unix:/path` or `tcp:ip:port`, a literal address.
        token: What it must prove to know; None before the claim, when nothing can be proved.
        boot_id: The process that was claimed.
        uid: Before the claim: which sandbox it must not be another than.
    """

    address: str
    token: str | None = None
    boot_id: str | None = None
    uid: str | None = None

    @property
    def origin(self) -> str:
        """Return a host name for the pool, different for each process behind an address."""
        text = f"{self.address}\n{self.boot_id}\n{self.token}\n{self.uid}"
        return "worker-" + hashlib.sha256(text.encode()).hexdigest()[:40]


class ProvedBackend(AsyncNetworkBackend):
    """Opens connections for the pool and lets only the right worker through."""

    def __init__(self) -> None:
        self._network = AnyIOBackend()

    def introduce(self, peer: Peer) -> str:
        """Say whom the next request of this context is for, and return the host name for its URL."""
        _wanted.set(peer)
        return peer.origin

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncNetworkStream:
        """Connect to the peer introduced as `host`, and ask for its proof."""
        peer = _wanted.get()
        assert peer.origin == host  # noqa: S101 - the pool opens no connection for another request
        stream: AsyncNetworkStream
        kind, _, rest = peer.address.partition(":")
        if not rest:
            raise httpcore.ConnectError("it has no address yet")
        if kind == "unix":
            stream = await self._network.connect_unix_socket(rest, timeout=timeout)
        else:
            address, _, number = rest.rpartition(":")
            options = [*(socket_options or ()), *LIVENESS]
            connected = await self._network.connect_tcp(
                address.strip("[]"), int(number), timeout, None, options
            )
            stream = PatientStream(connected)
        if peer.token is None and peer.uid is None:
            return stream
        try:
            async with asyncio.timeout(_PROOF_SECONDS):
                await _demand_proof(stream, peer)
        except TimeoutError:
            await stream.aclose()
            raise httpcore.ConnectTimeout("the worker did not prove itself in time") from None
        except (httpcore.NetworkError, httpcore.TimeoutException) as error:
            await stream.aclose()
            raise httpcore.ConnectError(f"no proof: {error}") from error  # nothing was sent yet
        except BaseException:
            await stream.aclose()
            raise
        return stream

    async def sleep(self, seconds: float) -> None:
        """Wait, as the pool's retries ask for."""
        await asyncio.sleep(seconds)


async def _demand_proof(stream: AsyncNetworkStream, peer: Peer) -> None:
    """Let the other side prove that it is the claimed worker; before a claim, say whose it is.

    Raises:
        ConnectError: It is the worker of another sandbox, which got this address meanwhile.
        SandboxLostError: It is another process than the one that was claimed.
        SandboxUnavailableError: It answers, but not as a worker that is known here.
    """
    nonce = secrets.token_hex(16)
    await stream.write(f"GET /proof?nonce={nonce} HTTP/1.1\r\nhost: worker\r\n\r\n".encode())
    answer = _parse_proof(await _read_answer(stream))
    # First: what the rest of the answer says in another version is not known.
    if answer.get("protocol") not in PROTOCOLS:
        raise unknown_protocol(answer.get("protocol"))
    if peer.token is None:
        # Workers of before do not say; what they were asked for the claim decides then.
        if answer.get("uid", peer.uid) != peer.uid:
            raise httpcore.ConnectError("another sandbox has its address")
        return
    if answer.get("restarted") is True:
        raise SandboxLostError(
            "The sandbox was started again by itself, most likely because it ran out of memory: "
            "its processes are gone. Acquire again; files that are there are kept."
        )
    if answer.get("boot_id") != peer.boot_id:
        raise SandboxLostError(
            "Another process than the one that was acquired answers at this sandbox's address. "
            "Acquire it again to go on with its files, if they are there."
        )
    expected = hmac.new(
        str(peer.token).encode(), f"{nonce}:{peer.boot_id}".encode(), hashlib.sha256
    ).hexdigest()
    proof = answer.get("proof")
    if not (isinstance(proof, str) and proof.isascii() and hmac.compare_digest(proof, expected)):
        raise SandboxLostError(
            "What answers at this sandbox's address cannot prove that it is the sandbox. "
            "Acquire again."
        )


def unknown_protocol(number: object) -> SandboxUnavailableError:
    """Return the error for a worker of another version: no verdict, its files are there."""
    return SandboxUnavailableError(
        f"The sandbox's worker speaks protocol {str(number)[:20]}, which this server does not know. "
        "Try again; if this persists, update this server."
    )


async def _read_answer(stream: AsyncNetworkStream) -> bytes:
    received = b""
    while len(received) < _PROOF_BYTES:
        head, separator, body = received.partition(b"\r\n\r\n")
        if separator and len(body) >= _content_length(head):
            return body
        piece = await stream.read(_PROOF_BYTES - len(received), timeout=_PROOF_SECONDS)
        if not piece:
            raise httpcore.ReadError("the worker closed the connection")
        received += piece
    raise SandboxUnavailableError("The sandbox's answer is not one of a worker: too long.")


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        length = value.strip()
        if name.strip().lower() == b"content-length" and length.isdigit() and len(length) < 10:
            return int(length)
    raise SandboxUnavailableError("The sandbox's answer is not one of a worker: no length.")


def _parse_proof(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise SandboxUnavailableError("The sandbox's answer is not one of a worker: not JSON.")
    return answer
