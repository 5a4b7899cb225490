"""A deployment as it is seen from outside: its pods, their processes on this node, its Redis's keys."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from tests.e2e import cluster
from tests.faults.live.open_logs import OpenLogs
from tests.faults.live.outside import LOG

from oneseek_sandbox.errors import UnavailableError
from oneseek_sandbox.runtimes.kubernetes.api import ApiRefusalError, KubernetesApi
from oneseek_sandbox.runtimes.kubernetes.pod_metadata import APP, PREFIX, WORKER_APP

__all__ = ["REDIS", "WORKER", "Deployment", "RunLog", "processes_of", "signal_all"]

REDIS = "oneseek-sandbox-redis-0"
WORKER = " --workspace "
_USER = 1000
_VALKEY = "REDISCLI_AUTH=$(cat /etc/redis-password/password) exec valkey-cli --no-auth-warning "
# What may be left of a thread is only that it had a sandbox.
_KEYS = """
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = string.match(key, '}:([^:]+)')
  if kind == 'lease' or kind == 'pins' then table.insert(found, key) end
  if kind == 'live' or kind == 'doomed' then
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      table.insert(found, key .. ' ' .. member)
    end
  end
end
return found
"""

Pod = dict[str, Any]


class Deployment:
    """The deployment on the cluster of KUBECONFIG; nobody else may use it meanwhile.

    Args:
        prefix: What the names of a run's threads begin with.
    """

    def __init__(self, api: KubernetesApi, prefix: str) -> None:
        self.prefix = prefix
        self._api = api

    async def sandboxes(self, thread: str = "") -> list[Pod]:
        """Return the pods of this run's threads, or of one; those that are ending too."""
        path = f"/api/v1/namespaces/{cluster.SANDBOXES}/pods"
        pods = await self._api.items(path, labelSelector=f"{APP}={WORKER_APP}")
        return [pod for pod in pods if thread_of(pod).startswith(self.prefix + thread)]

    async def functions(self, verb: str) -> list[Pod]:
        """Return the pods of a function that are not ending."""
        selector = f"serving.knative.dev/service={cluster.service(verb)}"
        path = f"/api/v1/namespaces/{cluster.SYSTEM}/pods"
        pods = await self._api.items(path, labelSelector=selector)
        return [pod for pod in pods if not is_ending(pod)]

    async def redis(self) -> Pod | None:
        """Return Redis's pod."""
        with contextlib.suppress(ApiRefusalError):
            return await self._api.get(f"/api/v1/namespaces/{cluster.SYSTEM}/pods/{REDIS}")
        return None

    async def delete(self, pod: Pod, *, grace_seconds: int) -> None:
        """Delete a pod."""
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        with contextlib.suppress(ApiRefusalError):
            await self._api.delete(path, {"gracePeriodSeconds": grace_seconds})

    async def has_ended(self, pod: Pod) -> None:
        """Wait until neither the API nor this node knows a pod any more."""
        meta = pod["metadata"]
        async with asyncio.timeout(60):
            while any(p["metadata"]["uid"] == meta["uid"] for p in await self.sandboxes()):
                await asyncio.sleep(0.1)
            while await asyncio.to_thread(processes_of, pod, WORKER):
                await asyncio.sleep(0.1)

    async def valkey(self, arguments: str) -> str:
        """Run a command in Redis's pod by its own client."""
        return await asyncio.to_thread(
            cluster.kubectl, "exec", REDIS, "--", "sh", "-c", _VALKEY + arguments
        )

    async def _keys(self) -> list[str]:
        script = _KEYS.replace("\n", " ").replace("'", '"')
        return (await self.valkey(f"eval '{script}' 0")).splitlines()

    async def live(self, thread: str) -> list[str]:
        """Name the pods of a thread, but for those that are over and only wait to be deleted."""
        doomed = {key.rpartition(" ")[2] for key in await self._keys() if ":doomed " in key}
        pods = [pod for pod in await self.sandboxes(thread) if not is_ending(pod)]
        return [p["metadata"]["name"] for p in pods if p["metadata"]["uid"] not in doomed]

    async def left(self) -> list[str]:
        """Name what is left of this run's threads: pods and keys."""
        found = [f"pod {pod['metadata']['name']}" for pod in await self.sandboxes()]
        ours = [key for key in await self._keys() if self.prefix in key or ":doomed " in key]
        return found + [f"key {key}" for key in ours]


def thread_of(pod: Pod) -> str:
    """Return a pod's thread, or nothing."""
    return _annotation(pod, "thread-id")


def sandbox_id_of(pod: Pod) -> str:
    """Return the id of the sandbox that a pod is, or nothing."""
    return _annotation(pod, "sandbox-id")


def _annotation(pod: Pod, name: str) -> str:
    return str(pod["metadata"].get("annotations", {}).get(PREFIX + name, ""))


def is_ending(pod: Pod) -> bool:
    """Return whether a pod is on its way out, or over."""
    over = pod["status"].get("phase") in ("Succeeded", "Failed")
    return over or "deletionTimestamp" in pod["metadata"]


def processes_of(pod: Pod, named: str) -> list[int]:
    """Return the processes, as this node numbers them, of the container where one is named so."""
    uid = pod["metadata"]["uid"]
    assert uid
    groups: dict[str, list[int]] = {}
    meant = ""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            group = (folder / "cgroup").read_text()
            if uid not in group and uid.replace("-", "_") not in group:
                continue
            groups.setdefault(group, []).append(int(folder.name))
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            meant = group if named in command else meant
    return sorted(groups.get(meant, []))


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to those that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


class RunLog(OpenLogs):
    """Counts what commands wrote about themselves, also of sandboxes whose files are gone since.

    The file of each workspace is held open from when somebody was given its sandbox, or a command
    began it, which only root on the pods' node can do. Before that nothing may be put there: whoever
    takes a sandbox over tells by its empty workspace that nobody was given it yet.
    """

    def __init__(self, deployment: Deployment) -> None:
        super().__init__()
        self._deployment = deployment
        self._given: set[str] = set()

    def begin(self, sandbox_id: str) -> None:
        """Let the log of a sandbox begin that somebody was given just now, or before."""
        self._given.add(sandbox_id)

    async def watch(self) -> None:
        """Open the log of every pod that is new, for ever."""
        while True:
            with contextlib.suppress(UnavailableError):
                await self.look()
            await asyncio.sleep(0.1)

    async def look(self) -> None:
        """Open the logs that began, of the pods that run."""
        for pod in await self._deployment.sandboxes():
            uid = pod["metadata"]["uid"]
            if uid not in self._open and pod["status"].get("phase") == "Running":
                create = os.O_CREAT if sandbox_id_of(pod) in self._given else 0
                with contextlib.suppress(OSError):  # not begun, or gone
                    self._open[uid] = await asyncio.to_thread(_open_log, pod, create)


def _open_log(pod: Pod, create: int) -> int:
    pids = processes_of(pod, WORKER)
    if not pids:
        raise FileNotFoundError("It has not started yet, or does not run here.")
    path = Path("/proc", str(min(pids)), "root").joinpath("workspace", LOG)
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | create
    descriptor = os.open(path, flags, 0o644)
    if create:
        os.fchown(descriptor, _USER, _USER)
    return descriptor
