"""Network for sandboxes that may have it: `pasta` carries it, routes close what is not the Internet.

The sandbox gets a network namespace of its own with one interface, whose other end is pasta, an
unprivileged process that opens ordinary sockets. Nothing listens for the outside. Routes to this
machine, private and link-local ranges are unreachable, and nobody inside may change routes. IPv4
only: IPv6 is closed altogether.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from oneseek_sandbox.errors import ConfigurationError

__all__ = [
    "RESOLVER",
    "TUN",
    "find_pasta",
    "known_options",
    "pasta_command",
]

# A documentation range (RFC 5737): no real network has it, so none is hidden by it.
RESOLVER: Final = "192.0.2.3"
_ADDRESS, _GATEWAY = "192.0.2.2", "192.0.2.1"

TUN: Final = Path("/dev/net/tun")


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
