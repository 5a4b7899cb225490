"""Routes and rules that close what is not the internet, for sandboxes that may have a network.

They are netlink messages: whoever may change a network namespace's routes only has to send them.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from pathlib import Path
from typing import Final

__all__ = ["CLOSED_RANGES", "close_routes", "close_rules", "own_addresses"]

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

_RTM_NEWROUTE, _RTN_UNREACHABLE, _TABLE_MAIN, _PROTOCOL_STATIC, _RTA_DST = 24, 7, 254, 4, 1
_RTM_NEWRULE, _FR_ACT_TO_TABLE, _FR_ACT_UNREACHABLE = 32, 1, 7
_FRA_DST, _FRA_PRIORITY, _FRA_IP_PROTO, _FRA_SPORT_RANGE, _FRA_DPORT_RANGE = 1, 6, 22, 23, 24
_DNS: Final = 53
_FIRST: Final = 100  # before the main table, after that of the machine's own addresses
_REQUEST_ACK_CREATE: Final = 0x001 | 0x004 | 0x400


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


def close_rules(ranges: list[str], *, served_port: int) -> list[bytes]:
    """Return the netlink messages that make ranges unreachable where a port is served to them.

    Rules, unlike routes, tell one port from another. Answers of the served port pass, since its
    clients come from the network's own gateway; and so do questions for names, which engines send
    to it, or from inside to whatever name server their machine has.
    """
    asking = [_ports(protocol, dport=_DNS) for protocol in (socket.IPPROTO_UDP, socket.IPPROTO_TCP)]
    answering = _ports(socket.IPPROTO_TCP, sport=served_port)
    passing = [_rule(_FIRST, _FR_ACT_TO_TABLE, None, ports) for ports in (answering, *asking)]
    return passing + [
        _rule(_FIRST + 1, _FR_ACT_UNREACHABLE, ipaddress.ip_network(t)) for t in ranges
    ]


def _ports(protocol: int, *, sport: int = 0, dport: int = 0) -> bytes:
    kind, port = (_FRA_SPORT_RANGE, sport) if sport else (_FRA_DPORT_RANGE, dport)
    value = struct.pack("=HH", port, port)
    return _attribute(_FRA_IP_PROTO, struct.pack("=B", protocol)) + _attribute(kind, value)


def _rule(
    priority: int,
    action: int,
    to: ipaddress.IPv4Network | ipaddress.IPv6Network | None,
    attributes: bytes = b"",
) -> bytes:
    family = socket.AF_INET6 if to is not None and to.version == 6 else socket.AF_INET
    length = to.prefixlen if to is not None else 0
    table = _TABLE_MAIN if action == _FR_ACT_TO_TABLE else 0
    rule = struct.pack("=BBBBBBBBI", family, length, 0, 0, table, 0, 0, action, 0)
    attributes += _attribute(_FRA_PRIORITY, struct.pack("=I", priority))
    if length and to is not None:
        attributes += _attribute(_FRA_DST, to.network_address.packed)
    size = 16 + len(rule) + len(attributes)
    header = struct.pack("=IHHII", size, _RTM_NEWRULE, _REQUEST_ACK_CREATE, 1, 0)
    return header + rule + attributes


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
