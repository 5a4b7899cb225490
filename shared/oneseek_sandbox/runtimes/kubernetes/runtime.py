"""Sandboxes as pods: taken from a warm pool that is a plain Deployment, or created cold."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from oneseek_sandbox.clock import Clock, SystemClock
from oneseek_sandbox.errors import RuntimeUnavailableError
from oneseek_sandbox.guest.bundle import bundle
from oneseek_sandbox.runtimes.kubernetes import pod_state
from oneseek_sandbox.runtimes.kubernetes.api import KubernetesApi
from oneseek_sandbox.runtimes.kubernetes.pod_patch import read_pod_patch
from oneseek_sandbox.runtimes.kubernetes.pod_spec import PodTemplate
from oneseek_sandbox.runtimes.kubernetes.pods import Pods
from oneseek_sandbox.runtimes.kubernetes.probe import ClusterProbe
from oneseek_sandbox.runtimes.kubernetes.upkeep import Upkeep
from oneseek_sandbox.runtimes.kubernetes.warm_pool import WarmPool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oneseek_sandbox.leases.store import Thread
    from oneseek_sandbox.runtimes.runtime import Check, Labels, ObjectState, SandboxObject
    from oneseek_sandbox.settings import Settings

__all__ = ["KubernetesRuntime"]

log = logging.getLogger(__name__)


class KubernetesRuntime:
    """Keeps the promises of `Runtime` with the pods of one namespace.

    A pod whose worker ended is gone: its files went with it, or must not be trusted.
    """

    name = "kubernetes"

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        worker = bundle("worker")
        template = PodTemplate(settings, worker, read_pod_patch(settings.pod_patch_file))
        self._settings = settings
        self._api = KubernetesApi.from_settings(settings)
        self._pods = Pods(settings, self._api, template)
        self._pool = WarmPool(settings, self._api, template, self._pods)
        self._upkeep = Upkeep(settings, self._api, template, worker)
        self._probe = ClusterProbe(settings, self._api, template)

    async def open(self) -> None:
        """Note settings without effect. The first call finds the cluster, or says what lacks."""
        if self._settings.kubectl_binary != "kubectl":
            log.warning("PROVISIONER_KUBECTL_BINARY is accepted but ignored: no kubectl is run.")

    async def close(self) -> None:
        """Let go of connections; sandboxes stay."""
        await self._api.close()

    async def find(self, thread: Thread) -> list[SandboxObject]:
        """Return the thread's living pods, newest generation first."""
        found = [self._pods.as_object(pod) for pod in await self._pods.of_thread(thread)]
        labelled = [o for o in found if o.labels and o.labels.thread == thread]
        return sorted(labelled, key=_generation, reverse=True)

    async def create(self, labels: Labels) -> SandboxObject:
        """Take a pod of the pool, or create one and wait until it has an address."""
        now_ms = self._clock.now_ms()
        pod = await self._pool.take(labels, now_ms=now_ms)
        if pod is None:
            pod = await self._pods.create(labels, now_ms=now_ms)
        return self._pods.as_object(pod)

    async def adopt(self, sandbox: SandboxObject, labels: Labels) -> SandboxObject:
        """Label a found pod anew; one that ended cannot be started again."""
        return self._pods.as_object(await self._pods.relabel(sandbox, labels))

    async def mark_claimed(self, sandbox: SandboxObject) -> None:
        """Record that its worker was claimed."""
        await self._pods.mark_claimed(sandbox)

    async def annotate(self, uid: str, name: str, labels: Labels) -> None:
        """Write what acquires have given on a pod."""
        await self._pods.annotate(uid, name, labels)

    async def inspect(self, uid: str, name: str) -> ObjectState:
        """Say whether a pod lives; one that is ending counts as gone."""
        pod = await self._pods.get(uid, name)
        return "gone" if pod is None or pod_state.ended(pod) else "running"

    async def explain(self, uid: str, name: str) -> str:
        """Say in a sentence why a pod does not run."""
        return await self._pods.why(uid, name)

    async def stop(self, uid: str, name: str, *, generation: int | None = None) -> bool:
        """Delete a pod by uid; True when it is proved gone."""
        return await self._pods.delete(uid, name, generation=generation)

    async def maintain(self) -> None:
        """Apply the worker program and the pool; delete pods that ended by themselves."""
        await self._upkeep.run()
        for pod in await self._pods.taken():
            if pod["status"].get("phase") in ("Failed", "Succeeded"):
                await self._pods.delete(pod["metadata"]["uid"], pod["metadata"]["name"])

    async def check(self) -> list[Check]:
        """Start two probe pods, report what is closed to them, and record it for the upkeep."""
        return await self._probe.run()

    # Last, because it hides the type of the same name from what follows.
    async def shortages(self) -> Sequence[str]:
        """Return nothing: only a creation finds out."""
        return ()

    async def damaged(self) -> Sequence[str]:
        """Return nothing: records are the cluster's own."""
        return ()

    async def list(self) -> list[SandboxObject]:
        """Return every sandbox's living pod."""
        found = []
        for pod in await self._pods.taken():
            if pod_state.ended(pod):
                continue
            try:
                found.append(self._pods.as_object(pod))
            except RuntimeUnavailableError as error:
                log.warning("Passed over a pod: %s", error)
        return found


def _generation(sandbox: SandboxObject) -> int:
    return sandbox.labels.generation if sandbox.labels else 0
