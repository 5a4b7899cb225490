"""The sandbox pods of one namespace: every call to the API server that a sandbox's life needs."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.errors import (
    CreationLostError,
    LeaseError,
    RuntimeUnavailableError,
    SandboxLostError,
    SandboxStartError,
)
from oneseek_sandbox.runtimes.kubernetes import pod_state
from oneseek_sandbox.runtimes.kubernetes.api import ApiRefusalError
from oneseek_sandbox.runtimes.kubernetes.objects import readable_pod, readable_pods
from oneseek_sandbox.runtimes.kubernetes.pod_metadata import (
    APP,
    CLAIMED,
    WARM,
    WORKER_APP,
    adopting,
    annotating,
    claiming,
    fresh_metadata,
    read_labels,
    thread_selector,
)
from oneseek_sandbox.runtimes.kubernetes.pod_spec import WORKER_PORT
from oneseek_sandbox.runtimes.kubernetes.refusals import creation_refusal, refusal
from oneseek_sandbox.runtimes.runtime import SandboxObject

if TYPE_CHECKING:
    from oneseek_sandbox.leases.store import Thread
    from oneseek_sandbox.runtimes.kubernetes.api import KubernetesApi, Resource
    from oneseek_sandbox.runtimes.kubernetes.pod_spec import PodTemplate
    from oneseek_sandbox.runtimes.runtime import Labels
    from oneseek_sandbox.settings import Settings

__all__ = ["Pods"]

log = logging.getLogger(__name__)

_CONFLICT: Final = 409
_DELETE_TRIES: Final = 8
_PAUSE_SECONDS: Final = 0.5


class Pods:
    """Makes, labels and ends pods."""

    def __init__(self, settings: Settings, api: KubernetesApi, template: PodTemplate) -> None:
        self._settings = settings
        self._api = api
        self._template = template
        self._path = f"/api/v1/namespaces/{settings.namespace}/pods"
        self._networks = [ipaddress.ip_network(cidr) for cidr in settings.pod_cidrs]

    async def of_thread(self, thread: Thread) -> list[Resource]:
        """Return the thread's pods that live; one that cannot be understood could be one of them."""
        pods = [readable_pod(pod) for pod in await self._list(thread_selector(thread))]
        return [pod for pod in pods if not pod_state.ended(pod)]

    async def taken(self) -> list[Resource]:
        """Return all sandboxes' pods, the dead ones too."""
        return readable_pods(await self._list(f"{APP}={WORKER_APP}"))

    async def get(self, uid: str, name: str) -> Resource | None:
        """Return a pod; None when it is not there, or another has its name."""
        try:
            pod = readable_pod(await self._api.get(f"{self._path}/{name}"))
        except ApiRefusalError as error:
            if error.is_missing(name):
                return None
            raise refusal(error, self._settings.namespace) from error
        return pod if pod["metadata"]["uid"] == uid else None

    async def create(self, labels: Labels, *, now_ms: int) -> Resource:
        """Create a pod and wait until it has an address.

        Raises:
            CapacityError: The namespace's quota is used up.
            SandboxStartError: The cluster refuses it, or it does not start; it is deleted.
        """
        name = f"{self._settings.pod_prefix}-{secrets.token_hex(8)}"
        body = self._template.pod(name, *fresh_metadata(labels, now_ms=now_ms))
        try:
            pod = readable_pod(await self._api.create(self._path, body))
        except ApiRefusalError as error:
            raise creation_refusal(error, self._settings.namespace) from error
        try:
            return await self._addressed(pod)
        except BaseException:
            # Unless a successor of this creation has labelled it as its own.
            await asyncio.shield(self._withdraw(pod, labels.generation))
            raise

    async def relabel(self, sandbox: SandboxObject, labels: Labels) -> Resource:
        """Label a found pod anew.

        Raises:
            CreationLostError: It changed since it was found.
            SandboxLostError: It is gone.
        """
        if sandbox.labels is None or sandbox.labels.generation > labels.generation:
            raise CreationLostError("A newer acquire took this sandbox over. Acquire again.")
        patch = adopting(sandbox.uid, sandbox.labels, labels)
        return await self._change(sandbox.uid, sandbox.name, patch)

    async def mark_claimed(self, sandbox: SandboxObject) -> Resource:
        """Mark a pod as claimed; raises as `relabel` does."""
        if sandbox.labels is None:
            raise CreationLostError("The sandbox carries no labels. Acquire again.")
        patch = claiming(sandbox.uid, sandbox.labels)
        return await self._change(sandbox.uid, sandbox.name, patch)

    async def annotate(self, uid: str, name: str, labels: Labels) -> None:
        """Write what acquires have given on a pod; raises as `relabel` does."""
        await self._change(uid, name, annotating(uid, labels))

    async def delete(self, uid: str, name: str, *, generation: int | None = None) -> bool:
        """Delete a pod by uid; True when it is proved gone, False while it is ending.

        With `generation` it is left alone (False) when labelled with a greater one. Without, this is
        one call, of which a round of the cleanup makes very many.
        """
        for _ in range(_DELETE_TRIES):
            preconditions = {"uid": uid}
            if generation is not None:
                pod = await self.get(uid, name)
                if pod is None:
                    return True
                labels = read_labels(pod)
                newer = labels is not None and labels.generation > generation
                if newer or "deletionTimestamp" in pod["metadata"]:
                    return False
                preconditions["resourceVersion"] = pod["metadata"]["resourceVersion"]
            try:
                await self._api.delete(f"{self._path}/{name}", {"preconditions": preconditions})
            except ApiRefusalError as error:
                if error.is_missing(name):
                    return True
                if error.status != _CONFLICT:
                    raise refusal(error, self._settings.namespace) from error
                if await self.get(uid, name) is None:
                    return True  # another pod has the name
            else:
                return False
        return False

    async def why(self, uid: str, name: str) -> str:
        """Say in a sentence why a pod does not run; empty when nothing is known."""
        pod = await self.get(uid, name)
        return "Its pod was deleted." if pod is None else await self._why(pod)

    def as_object(self, pod: Resource) -> SandboxObject:
        """Return a pod as the provisioner knows sandboxes."""
        metadata = pod["metadata"]
        annotations = metadata.get("annotations", {})
        return SandboxObject(
            uid=metadata["uid"],
            name=metadata["name"],
            address=self._address(pod),
            labels=read_labels(pod),
            claimed=CLAIMED in annotations,
            warm=WARM in annotations,
        )

    def _address(self, pod: Resource) -> str:
        ip = pod_state.address_of(pod)
        if not ip:
            return ""
        if self._networks and not any(ipaddress.ip_address(ip) in net for net in self._networks):
            raise RuntimeUnavailableError(
                f"The address {ip} of pod {pod['metadata']['name']} is in none of the networks of "
                f"PROVISIONER_POD_CIDR ({self._settings.pod_cidr}); nothing is sent to it."
            )
        return f"tcp:[{ip}]:{WORKER_PORT}" if ":" in ip else f"tcp:{ip}:{WORKER_PORT}"

    async def _list(self, selector: str) -> list[Resource]:
        try:
            return await self._api.items(self._path, labelSelector=selector)
        except ApiRefusalError as error:
            raise refusal(error, self._settings.namespace) from error

    async def _change(self, uid: str, name: str, patch: list[Resource]) -> Resource:
        try:
            pod = readable_pod(await self._api.patch(f"{self._path}/{name}", patch))
        except ApiRefusalError as error:
            if not error.is_outrun:
                raise refusal(error, self._settings.namespace) from error
            pod = await self.get(uid, name) or {}
            if pod and not pod_state.ended(pod):
                raise CreationLostError(
                    "A newer acquire took this sandbox over. Acquire again."
                ) from error
        if not pod or pod_state.ended(pod):
            raise SandboxLostError("The sandbox's pod is gone. Acquire again for a new one.")
        return pod

    async def _addressed(self, pod: Resource) -> Resource:
        """Watch a new pod until it has an address."""
        name = pod["metadata"]["name"]
        try:
            async with asyncio.timeout(self._settings.startup_timeout_seconds):
                while not pod_state.address_of(pod):
                    if pod_state.ended(pod):
                        break
                    pod = await self._next_state(pod)
        except TimeoutError:
            pod = await self.get(pod["metadata"]["uid"], name) or pod
            raise SandboxStartError(
                f"The new sandbox's pod had no address within "
                f"{self._settings.startup_timeout_seconds} s (STARTUP_TIMEOUT_SECONDS). "
                f"{await self._why(pod)}"
            ) from None
        if pod_state.ended(pod):
            raise SandboxStartError(
                f"The new sandbox ended before it was ready. {await self._why(pod)}"
            )
        return pod

    async def _next_state(self, pod: Resource) -> Resource:
        """Return the pod as it is after its next change."""
        metadata = pod["metadata"]
        query = {
            "fieldSelector": f"metadata.name={metadata['name']}",
            "resourceVersion": metadata["resourceVersion"],
        }
        seconds = self._settings.startup_timeout_seconds
        try:
            async for kind, changed in self._api.watch(self._path, seconds=seconds, **query):
                if kind in ("ADDED", "MODIFIED"):
                    return readable_pod(changed)
                break  # deleted, or the version is too old to watch from
        except ApiRefusalError as error:
            raise refusal(error, self._settings.namespace) from error
        await asyncio.sleep(_PAUSE_SECONDS)
        found = await self.get(metadata["uid"], metadata["name"])
        if found is None:
            raise SandboxLostError("The sandbox's pod was deleted while it started. Acquire again.")
        return found

    async def _withdraw(self, pod: Resource, generation: int) -> None:
        metadata = pod["metadata"]
        try:
            await self.delete(metadata["uid"], metadata["name"], generation=generation)
        except (LeaseError, RuntimeUnavailableError) as error:
            log.warning("Pod %s is left to the cleanup: %s", metadata["name"], error)

    async def _why(self, pod: Resource) -> str:
        events: list[Resource] = []
        if pod["status"].get("phase") == "Pending":
            path = f"/api/v1/namespaces/{self._settings.namespace}/events"
            selector = f"involvedObject.uid={pod['metadata']['uid']}"
            try:
                events = await self._api.items(path, fieldSelector=selector)
            except (ApiRefusalError, RuntimeUnavailableError) as error:
                log.warning("Cannot read the events of a pod: %s", error)
        return pod_state.reason(pod, events)
