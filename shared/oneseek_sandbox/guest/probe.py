"""Runs as PID 1 of a trial sandbox and prints what it finds and what it can do, as one JSON object.

Arguments: port of a listener on the host's loopback, and paths of the host that must not be here.
Standard library only; whatever cannot be found out is left for the server to judge as failed.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_PTRACE_ATTACH = 16
_PRIVATE = ("10.0.0.1", "100.64.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1")
_NAMESPACES = ("ipc", "mnt", "net", "pid", "user", "uts")


def _error(result: int) -> str:
    return "" if result != -1 else errno.errorcode.get(ctypes.get_errno(), "?")


def _attempt(call: Callable[[], object]) -> str:
    """Return the name of the error that a call meets, or nothing when it works."""
    try:
        call()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    return ""


def _write_into(folder: str) -> str:
    path = f"{folder}/.probe"

    def write() -> None:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        os.unlink(path)

    return _attempt(write)


def _open_for_writing(path: str) -> str:
    return _attempt(lambda: os.close(os.open(path, os.O_WRONLY)))


def _connect(port: int) -> str:
    def connect() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            pass

    return _attempt(connect)


def _route(address: str) -> str:
    """Return the error of a route look-up; connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        return _attempt(lambda: datagrams.connect((address, 9)))


def _system_calls() -> dict[str, str]:
    """Try what only seccomp and the missing capabilities stand against; a child tries ptrace."""
    limits = (ctypes.c_ulong * 2)(0, 0)
    return {
        "unshare-user": _error(_libc.unshare(_NEW_USER)),
        "unshare-net": _error(_libc.unshare(_NEW_NET)),
        "mount": _error(_libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
        "ptrace": _error(_libc.ptrace(_PTRACE_ATTACH, 1, None, None)),
        "prlimit": _error(_libc.prlimit(os.getpid(), resource.RLIMIT_CORE, limits, None)),
        "setuid": _error(_libc.setuid(0)),
        "keyctl": _error(_libc.keyctl(0, -3, 1)) if hasattr(_libc, "keyctl") else "EPERM",
    }


def _status() -> dict[str, str]:
    with open("/proc/self/status", encoding="ascii") as file:
        lines = dict(line.rstrip("\n").split(":", 1) for line in file)
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    return {name: lines.get(name, "").strip() for name in names}


def _interfaces() -> list[str]:
    with open("/proc/net/dev", encoding="ascii") as file:
        return [line.split(":")[0].strip() for line in file if ":" in line]


def _size(path: str) -> int:
    stats = os.statvfs(path)
    return stats.f_blocks * stats.f_frsize


def _limits() -> dict[str, int]:
    names = ("RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_NPROC")
    return {name: resource.getrlimit(getattr(resource, name))[0] for name in names}


def main() -> None:
    """Probe and print."""
    port, workspace, hidden = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    facts: dict[str, Any] = {
        "pid": os.getpid(),
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),
        "status": _status(),
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in _NAMESPACES},
        "hostname": socket.gethostname(),
        "interfaces": _interfaces(),
        "routes": {address: _route(address) for address in _PRIVATE},
        "host-loopback": _connect(port),
        "kernel-settings": _open_for_writing("/proc/sys/kernel/core_pattern"),
        "sysrq": _open_for_writing("/proc/sysrq-trigger"),
        "writable": {
            path: _write_into(path)
            for path in ("", "/usr", "/etc", "/run", "/dev", "/tmp", "/dev/shm", workspace)  # noqa: S108
        },
        "sizes": {path: _size(path) for path in ("/tmp", "/dev/shm")},  # noqa: S108
        "limits": _limits(),
        "environment": sorted(os.environ),
        "present": [path for path in hidden if os.path.lexists(path)],
        "descriptors": [os.readlink(f"/proc/self/fd/{fd}") for fd in _descriptors()],
        "system-calls": _system_calls(),
    }
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
    signal.pause()  # the server looks at this process from outside, then ends it


def _descriptors() -> list[int]:
    found = [int(name) for name in os.listdir("/proc/self/fd")]
    return [fd for fd in found if fd > 2 and os.path.lexists(f"/proc/self/fd/{fd}")]


if __name__ == "__main__":
    main()
