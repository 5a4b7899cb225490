"""What happens to a pod's processes without the API server: for tests that run on its node, as root."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest


def processes_of(pod, *, first_only):
    """Return the processes of a pod's container as its node numbers them.

    Behind gVisor that is the kernel of its own, which belongs to the pod and not to one container.
    """
    uid = pod["metadata"]["uid"]
    (status,) = pod["status"]["containerStatuses"]
    container = status["containerID"].partition("://")[2]
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            group = (folder / "cgroup").read_text()
            if uid in group or uid.replace("-", "_") in group or container in group:
                found[int(folder.name)] = group
    if not found:
        pytest.skip("the tests do not run as root on the pod's node")
    if pod["spec"].get("runtimeClassName") == "gvisor":
        return [pid for pid in found if _name(pid).startswith("runsc-sandbox")]
    own = [pid for pid, group in found.items() if container in group]
    return [pid for pid in own if _inner(pid) == 1] if first_only else own


def kill(pids):
    """End processes as the kernel does when memory runs out, all at once."""
    assert pids, "nothing to kill"
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _name(pid):
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return os.path.basename(words[0].decode(errors="replace"))
    return ""


def _inner(pid):
    """Return the number a process has in its own namespace."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return 0
