"""What the sandboxes of a namespace stand on: the worker program and the warm pool.

Applied by `cleanup_idle` alone, so that two revisions of `acquire` never fight over it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.errors import RuntimeUnavailableError
from oneseek_sandbox.runtimes.kubernetes.api import ApiRefusalError
from oneseek_sandbox.runtimes.kubernetes.objects import number_at, text_at
from oneseek_sandbox.runtimes.kubernetes.pod_metadata import APP, PREFIX, WARM_APP, WORKER_APP
from oneseek_sandbox.runtimes.kubernetes.pod_spec import (
    WORKER_CODE_APP,
    pool_name,
    worker_config_map,
)
from oneseek_sandbox.telemetry.instruments import POOL

if TYPE_CHECKING:
    from oneseek_sandbox.runtimes.kubernetes.api import KubernetesApi, Resource
    from oneseek_sandbox.runtimes.kubernetes.pod_spec import PodTemplate
    from oneseek_sandbox.settings import Settings

__all__ = ["NETWORK_FINDING", "NETWORK_POLICY", "Upkeep"]

log = logging.getLogger(__name__)

NETWORK_FINDING: Final = "oneseek-sandbox-network"
"""The ConfigMap in which `doctor --cluster` leaves what it found."""
NETWORK_POLICY: Final = PREFIX + "network-policy"
"""Its annotation: `enforced` or `open`."""

_MANAGER: Final = "oneseek-sandbox"
# The size has a manager of its own: applying the rest must not take it from kubectl or an HPA.
_SIZE_MANAGER: Final = "oneseek-sandbox-size"
_SIZE: Final = PREFIX + "pool-size"
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409


class Upkeep:
    """Applies the worker's ConfigMap and the pool's Deployment."""

    def __init__(
        self, settings: Settings, api: KubernetesApi, template: PodTemplate, worker: bytes
    ) -> None:
        self._settings = settings
        self._api = api
        self._template = template
        self._worker = worker
        self._core = f"/api/v1/namespaces/{settings.namespace}"
        self._apps = f"/apis/apps/v1/namespaces/{settings.namespace}"

    async def run(self) -> None:
        """Bring both to what this version and these settings want; a no-op when they are so."""
        try:
            await self._put_worker()
            await self._put_pool()
            await self._drop_old_workers()
        except ApiRefusalError as error:
            raise RuntimeUnavailableError(
                f"The cluster does not allow the upkeep of the sandboxes: {error.message} Apply "
                "the Roles of the manifests."
            ) from error

    async def _put_worker(self) -> None:
        config_map = worker_config_map(self._settings, self._worker)
        path = f"{self._core}/configmaps"
        if await self._read(f"{path}/{config_map['metadata']['name']}") is not None:
            return
        try:
            await self._api.create(path, config_map)
        except ApiRefusalError as error:
            if error.status != _CONFLICT:
                raise

    async def _put_pool(self) -> None:
        size = await self._pool_size()
        name = pool_name(self._settings)
        path = f"{self._apps}/deployments/{name}"
        wanted = self._template.pool()
        found = await self._read(path)
        if found is None:
            sized = {**wanted, "spec": {**wanted["spec"], "replicas": size}}
            sized["metadata"] = {**wanted["metadata"], "annotations": {_SIZE: str(size)}}
            await self._api.create(f"{self._apps}/deployments", sized, fieldManager=_SIZE_MANAGER)
        elif text_at(found, "metadata", "annotations", _SIZE) != str(size):
            log.info("The warm pool gets %d pods", size)
            resized = {
                "metadata": {"annotations": {_SIZE: str(size)}},
                "spec": {"replicas": size},
            }
            await self._api.merge(path, resized, manager=_SIZE_MANAGER)
        pool = await self._api.apply(path, wanted, manager=_MANAGER)
        # Not `size`: an autoscaler may want another.
        POOL.set(number_at(pool, "spec", "replicas", default=size), "wanted")
        POOL.set(number_at(pool, "status", "readyReplicas"), "ready")

    async def _pool_size(self) -> int:
        """Return WARM_POOL_SIZE, or 0 where waiting pods would have an open network."""
        size = self._settings.warm_pool_size
        if size == 0 or self._settings.allow_open_network:
            return size
        finding = await self._read(f"{self._core}/configmaps/{NETWORK_FINDING}")
        state = text_at(finding, "metadata", "annotations", NETWORK_POLICY) or "not known"
        if state == "enforced":
            return size
        log.warning(
            "The warm pool stays at 0: whether this cluster enforces NetworkPolicy is %s. Run "
            "'oneseek-sandbox doctor --cluster', or set PROVISIONER_ALLOW_OPEN_NETWORK=true.",
            state,
        )
        return 0

    async def _drop_old_workers(self) -> None:
        """Delete programs of other versions that no pod mounts any more."""
        selector = f"{APP}={WORKER_CODE_APP}"
        programs = await self._api.items(f"{self._core}/configmaps", labelSelector=selector)
        current = worker_config_map(self._settings, self._worker)["metadata"]["name"]
        old = {text_at(item, "metadata", "name") for item in programs} - {current, ""}
        if not old:
            return
        selector = f"{APP} in ({WORKER_APP},{WARM_APP})"
        for pod in await self._api.items(f"{self._core}/pods", labelSelector=selector):
            mounted = _config_maps(pod)
            if not mounted:
                log.warning("No worker program is dropped: of a pod it is not clear what it mounts")
                return
            old -= mounted
        for name in old:
            log.info("Nobody uses the worker program %s any more", name)
            await self._api.delete(f"{self._core}/configmaps/{name}")

    async def _read(self, path: str) -> Resource | None:
        try:
            return await self._api.get(path)
        except ApiRefusalError as error:
            if error.status == _NOT_FOUND:
                return None
            raise


def _config_maps(pod: Resource) -> set[str]:
    """Return what a pod mounts; each of ours mounts its worker."""
    spec = pod.get("spec")
    volumes = spec.get("volumes") if isinstance(spec, dict) else None
    found = volumes if isinstance(volumes, list) else []
    return {text_at(volume, "configMap", "name") for volume in found} - {""}
