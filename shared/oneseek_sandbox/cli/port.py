"""Who listens on a port: for the moment when `serve` finds it taken."""

from __future__ import annotations

import errno
import json
import socket
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oneseek_sandbox.cli.failure import CommandLineError
from oneseek_sandbox.cli.terminal import printable
from oneseek_sandbox.errors import SandboxError

__all__ = ["PortOwner", "is_our_server", "port_owner", "require_free_port"]

_SERVICE: Final = "oneseek-sandbox"
_LISTEN: Final = "0A"
_PROBE_SECONDS: Final = 1.0
_LONGEST_HEALTH: Final = 4096
_ANY: Final = {"", "0.0.0.0", "::"}  # noqa: S104  compared, not bound


@dataclass(frozen=True, slots=True)
class PortOwner:
    """A process that listens on a port; `pid` is None when it is another user's."""

    pid: int | None
    name: str
    uid: int

    def __str__(self) -> str:
        if self.pid is None:
            return f"a process of user id {self.uid}"
        return f"{self.name} (pid {self.pid})"


def require_free_port(host: str, port: int) -> None:
    """Return when `host` and `port` can be listened on.

    Raises:
        CommandLineError: They cannot; the message names who listens there already.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise CommandLineError(f"cannot resolve the host {host!r}: {error.strerror}") from None
    with closing(socket.socket(family, kind, protocol)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            # Another listener with SO_REUSEADDR shows here only.
            probe.listen()
        except OSError as error:
            raise CommandLineError(_explain(error, host, port)) from None


def port_owner(port: int) -> PortOwner | None:
    """Return who listens on a TCP port of this machine, or None when that cannot be seen."""
    listeners = _listeners(port)
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                link = str(descriptor.readlink())
                inode = link.removeprefix("socket:[").removesuffix("]")
                if inode in listeners:
                    name = printable((process / "comm").read_text(errors="replace").strip())
                    return PortOwner(int(process.name), name, listeners[inode])
    for uid in listeners.values():
        return PortOwner(None, "", uid)
    return None


def is_our_server(host: str, port: int) -> bool:
    """Say whether a server of this package answers there."""
    from oneseek_sandbox.client.blocking_wire import BlockingWire
    from oneseek_sandbox.client.server import Server

    address = "127.0.0.1" if host in _ANY else host
    server = Server(f"http://{f'[{address}]' if ':' in address else address}:{port}", "")
    wire = BlockingWire(server, answer_seconds=_PROBE_SECONDS)
    with closing(wire), suppress(SandboxError, ValueError):
        probe = wire.request("GET", "/healthz", headers={})
        _, body = wire.exchange(probe, longest=_LONGEST_HEALTH)
        answer = json.loads(body)
        return isinstance(answer, dict) and answer.get("service") == _SERVICE
    return False


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EACCES:
        return f"port {port} needs rights that this user has not; take --port 1024 or above"
    if error.errno != errno.EADDRINUSE:
        return f"cannot listen on {host} port {port}: {error.strerror}"
    owner = port_owner(port)
    if is_our_server(host, port):
        where = f" as {owner}" if owner else ""
        return (
            f"an oneseek-sandbox server already runs on port {port}{where}. Use that one, stop it, "
            "or take another port with --port."
        )
    who = str(owner) if owner else "another process"
    return f"port {port} is taken by {who}. Stop it, or take another port with --port."


def _listeners(port: int) -> dict[str, int]:
    """Return the socket inode and uid of each listener on `port`."""
    found = {}
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                    found[columns[9]] = int(columns[7])
    return found
