"""Network for sandboxes that may have it: `pasta` carries it, routes close what is not the Internet.

The sandbox gets a network namespace of its own with one interface, whose other end is pasta, an
unprivileged process that opens ordinary sockets. Nothing listens for the outside. Routes to this
machine, private and link-local ranges are unreachable, and nobody inside may change routes. IPv4
only: IPv6 is closed altogether.
"""

from __future__ import annotations

import ipaddress
import re
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from typing import Final

from oneseek_sandbox.errors import ConfigurationError

__all__ = [
    "CLOSED_RANGES",
    "RESOLVER",
    "TUN",
    "close_routes",
    "find_pasta",
    "known_options",
    "own_addresses",
    "pasta_command",
]

# A documentation range (RFC 5737): no real network has it, so none is hidden by it.
RESOLVER: Final = "192.0.2.3"
_ADDRESS, _GATEWAY = "192.0.2.2", "192.0.2.1"

CLOSED_RANGES: Final = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "168.63.129.16/32",  # Azure's host, a public address that only machines there can reach
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/0",
)

TUN: Final = Path("/dev/net/tun")
_RTM_NEWROUTE, _RTN_UNREACHABLE, _TABLE_MAIN, _PROTOCOL_STATIC, _RTA_DST = 24, 7, 254, 4, 1
_REQUEST_ACK_CREATE: Final = 0x001 | 0x004 | 0x400


def find_pasta() -> str:
    """Return the pasta program.

    Raises:
        ConfigurationError: There is none, or it could not open its end of the interface.
    """
    found = shutil.which("pasta", path="/usr/local/bin:/usr/bin:/bin")
    if found is None:
        raise ConfigurationError(
            "PROVISIONER_NETWORK is on, and that needs `pasta`, which is not installed."
            " As root: apt-get install passt. Or set PROVISIONER_NETWORK=off."
        )
    if not TUN.exists() or TUN.stat().st_mode & 0o006 != 0o006:
        raise ConfigurationError(
            f"PROVISIONER_NETWORK is on, and that needs {TUN} to be open to every user."
            f" As root: modprobe tun; chmod 0666 {TUN}. Or set PROVISIONER_NETWORK=off."
        )
    return found


def known_options(pasta: str) -> frozenset[str]:
    """Return the long options of this version of pasta."""
    answer = subprocess.run([pasta, "--help"], capture_output=True, timeout=10, check=False)
    text = (answer.stdout + answer.stderr).decode("utf-8", "replace")
    return frozenset(re.findall(r"--[a-z0-9-]+", text))


def pasta_command(pasta: str, options: frozenset[str]) -> list[str]:
    """Return the command that serves a namespace; the process id of its owner is to be appended."""
    command = [pasta, "--foreground", "--quiet", "--config-net", "--ipv4-only"]
    command += ["--address", _ADDRESS, "--netmask", "24", "--gateway", _GATEWAY]
    command += ["--dns-forward", RESOLVER, "--no-map-gw", "--ns-ifname", "eth0"]
    command += ["-t", "none", "-u", "none", "-T", "none", "-U", "none"]
    for option in ("--map-host-loopback", "--map-guest-addr"):
        if option in options:
            command += [option, "none"]
    return command


def own_addresses(table: Path = Path("/proc/net/fib_trie")) -> list[str]:
    """Return this machine's own IPv4 addresses, which pasta's sockets could reach otherwise."""
    try:
        text = table.read_text(encoding="ascii")
    except OSError:
        return []
    found = re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", text)
    return sorted({address for address in found if not address.startswith("127.")})


def close_routes(ranges: list[str]) -> list[bytes]:
    """Return the netlink messages that make ranges unreachable."""
    return [_unreachable(ipaddress.ip_network(text)) for text in ranges]


def _unreachable(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bytes:
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    route = struct.pack(
        "=BBBBBBBBI",
        *(family, network.prefixlen, 0, 0),
        *(_TABLE_MAIN, _PROTOCOL_STATIC, 0, _RTN_UNREACHABLE, 0),
    )
    address = network.network_address.packed
    attribute = struct.pack("=HH", 4 + len(address), _RTA_DST) + address
    length = 16 + len(route) + len(attribute)
    header = struct.pack("=IHHII", length, _RTM_NEWROUTE, _REQUEST_ACK_CREATE, 1, 0)
    return header + route + attribute
