"""Connections to workers: literal addresses only, proved before anything is sent.

Opening a connection asks the other side for its proof (docs/worker-protocol.md), so that an address
which another sandbox got meanwhile receives nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import socket
from dataclasses import dataclass
from typing import Any, Final

from oneseek_sandbox.errors import SandboxLostError, SandboxUnavailableError
from oneseek_sandbox.workers.bodies import read_whole
from oneseek_sandbox.workers.patience import LIVENESS
from oneseek_sandbox.workers.request import Request
from oneseek_sandbox.workers.wire import CutOffError, NotReachedError, Wire

__all__ = ["PROTOCOLS", "Peer", "connect", "unknown_protocol"]

PROTOCOLS: Final = (1,)
"""Versions of the worker's protocol that this client speaks."""

_PROOF_BYTES: Final = 8192
_PROOF_SECONDS: Final = 5.0


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


async def connect(peer: Peer, seconds: float) -> Wire:
    """Connect to a worker, and let it prove that it is the right one.

    Args:
        seconds: How long it may take to accept.

    Raises:
        NotReachedError: Nobody answers there, or the worker of another sandbox.
        SandboxLostError: It is another process than the one that was claimed.
        SandboxUnavailableError: It answers, but not as a worker that is known here.
    """
    try:
        async with asyncio.timeout(seconds):
            wire = await _open(peer.address)
    except TimeoutError:
        raise NotReachedError("it did not accept the connection in time") from None
    except OSError as error:
        raise NotReachedError(error.strerror or str(error)) from error
    if peer.token is None and peer.uid is None:
        return wire
    try:
        async with asyncio.timeout(_PROOF_SECONDS):
            await _demand_proof(wire, peer)
    except TimeoutError:
        wire.close()
        raise NotReachedError("it did not prove itself in time") from None
    except CutOffError as error:
        wire.close()
        raise NotReachedError(f"no proof: {error}") from error  # nothing was sent yet
    except BaseException:
        wire.close()
        raise
    if not wire.is_usable:
        wire.close()
        raise NotReachedError("it closed the connection")
    return wire


async def _open(address: str) -> Wire:
    loop = asyncio.get_running_loop()
    kind, _, rest = address.partition(":")
    if not rest:
        raise NotReachedError("it has no address yet")
    if kind == "unix":
        return (await loop.create_unix_connection(Wire, rest))[1]
    host, _, port = rest.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        connection.setblocking(False)
        for option in LIVENESS:
            connection.setsockopt(*option)
        await loop.sock_connect(connection, (host, int(port)))
        return (await loop.create_connection(Wire, sock=connection))[1]
    except BaseException:
        connection.close()
        raise


async def _demand_proof(wire: Wire, peer: Peer) -> None:
    """Let the other side prove that it is the claimed worker; before a claim, say whose it is.

    Raises:
        NotReachedError: It is the worker of another sandbox, which got this address meanwhile.
        SandboxLostError: It is another process than the one that was claimed.
        SandboxUnavailableError: It answers, but not as a worker that is known here.
    """
    nonce = secrets.token_hex(16)
    async with wire.asked(Request("GET", f"/proof?nonce={nonce}")) as response:
        answer = _parse_proof(await read_whole(response, _PROOF_BYTES))
    # First: what the rest of the answer says in another version is not known.
    if answer.get("protocol") not in PROTOCOLS:
        raise unknown_protocol(answer.get("protocol"))
    if peer.token is None:
        # Workers of before do not say; what they were asked for the claim decides then.
        if answer.get("uid", peer.uid) != peer.uid:
            raise NotReachedError("another sandbox has its address")
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


def _parse_proof(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise SandboxUnavailableError("The sandbox's answer is not one of a worker: not JSON.")
    return answer
