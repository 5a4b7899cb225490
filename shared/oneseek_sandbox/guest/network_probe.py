"""Runs inside a pod or container: prints what it reaches and what it may do, as one JSON object.

Run as `python3 -c PROGRAM TARGETS`; the targets are JSON, by name a host and a port.
"""

from __future__ import annotations

import json
import os
import socket
import sys

__all__: list[str] = []


def _connect(host: str, port: int) -> str:
    """Return `open`, `refused`, `silent`, or the system's word for what came of it."""
    try:
        socket.create_connection((host, port), 3).close()
    except socket.timeout:
        return "silent"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return "open"


def _read(*paths: str) -> str:
    """Return what is in the first of these files that can be read."""
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                return file.read().strip()
        except OSError:
            pass
    return ""


def _is_writable(folder: str) -> bool:
    try:
        os.close(os.open(folder + "/.probe", os.O_CREAT | os.O_WRONLY))
    except OSError:
        return False
    return True


def _main() -> None:
    targets = json.loads(sys.argv[1])
    status = dict(line.split(":", 1) for line in _read("/proc/self/status").splitlines())
    memory = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
    facts = {
        "reached": {name: _connect(*target) for name, target in targets.items()},
        "uid": os.getuid(),
        "capabilities": int(status["CapEff"], 16),
        "no_new_privs": int(status["NoNewPrivs"]),
        "seccomp": int(status.get("Seccomp", 0)),
        "writable_root": _is_writable("/") or _is_writable("/usr"),
        "token": os.path.exists("/var/run/secrets/kubernetes.io"),
        "environment": [name for name in os.environ if name.startswith("KUBERNETES_")],
        "processes": _read("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"),
        "memory": _read(*memory),
        "kernel": _read("/proc/version"),
    }
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    _main()
