"""What a probe inside a sandbox looks at, and what it found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PROGRAM", "Findings"]

PROGRAM: Final = """
import json, os, socket, sys

def connect(host, port):
    try:
        socket.create_connection((host, port), 3).close()
    except TimeoutError:
        return "silent"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return "open"

def read(*paths):
    for path in paths:
        try:
            with open(path) as file:
                return file.read().strip()
        except OSError:
            pass
    return ""

def writable(path):
    try:
        os.close(os.open(path + "/.probe", os.O_CREAT | os.O_WRONLY))
    except OSError:
        return False
    return True

status = dict(line.split(":", 1) for line in read("/proc/self/status").splitlines())
print(json.dumps({
    "reached": {name: connect(*target) for name, target in json.loads(sys.argv[1]).items()},
    "uid": os.getuid(),
    "capabilities": int(status["CapEff"], 16),
    "no_new_privs": int(status["NoNewPrivs"]),
    "seccomp": int(status.get("Seccomp", 0)),
    "writable_root": writable("/") or writable("/usr"),
    "token": os.path.exists("/var/run/secrets/kubernetes.io"),
    "environment": [name for name in os.environ if name.startswith("KUBERNETES_")],
    "processes": read("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"),
    "memory": read("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    "kernel": read("/proc/version"),
}))
"""


@dataclass(frozen=True)
class Findings:
    """What the probe printed.

    Attributes:
        reached: By target: `open`, `refused`, `silent`, or the system's word.
        facts: The rest, by name.
    """

    reached: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)
