"""`doctor --cluster`: two pods as sandboxes are, and what one of them can reach.

They carry a sandbox's label, for the policies, and none of its annotations: nobody adopts them.
Commands go through the API server's pod proxy, since an operator's laptop reaches no pod.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.errors import RuntimeUnavailableError, SandboxStartError
from oneseek_sandbox.guest.bundle import bundle
from oneseek_sandbox.runtimes.findings import Findings
from oneseek_sandbox.runtimes.kubernetes import pod_state
from oneseek_sandbox.runtimes.kubernetes.api import ApiRefusalError
from oneseek_sandbox.runtimes.kubernetes.deployed import SYSTEM
from oneseek_sandbox.runtimes.kubernetes.findings import checks, is_enforced
from oneseek_sandbox.runtimes.kubernetes.objects import (
    number_at,
    readable_pod,
    text_at,
    understood,
)
from oneseek_sandbox.runtimes.kubernetes.pod_metadata import APP, PREFIX, WORKER_APP
from oneseek_sandbox.runtimes.kubernetes.pod_spec import WORKER_PORT
from oneseek_sandbox.runtimes.kubernetes.refusals import refusal
from oneseek_sandbox.runtimes.kubernetes.upkeep import NETWORK_FINDING, NETWORK_POLICY

if TYPE_CHECKING:
    from oneseek_sandbox.runtimes.kubernetes.api import KubernetesApi, Resource
    from oneseek_sandbox.runtimes.kubernetes.pod_spec import PodTemplate
    from oneseek_sandbox.runtimes.runtime import Check
    from oneseek_sandbox.settings import Settings

__all__ = ["ClusterProbe"]

_PROGRAM: Final = bundle("network_probe").decode()
log = logging.getLogger(__name__)

_REDIS: Final = f"/api/v1/namespaces/{SYSTEM}/services/oneseek-sandbox-redis"
_API_SERVER: Final = "/api/v1/namespaces/default/services/kubernetes"
_MANAGER: Final = "oneseek-sandbox-doctor"


class ClusterProbe:
    """Looks from inside a sandbox, and records whether policy holds."""

    def __init__(self, settings: Settings, api: KubernetesApi, template: PodTemplate) -> None:
        self._settings = settings
        self._api = api
        self._template = template
        self._core = f"/api/v1/namespaces/{settings.namespace}"

    async def run(self) -> list[Check]:
        """Start the pods, look, record, and take them away whatever happened."""
        names = [f"{self._settings.pod_prefix}-probe-{secrets.token_hex(4)}" for _ in range(2)]
        try:
            with understood("What the probe found"):
                findings = await self._look(names)
                found = checks(findings, open_allowed=self._settings.allow_open_network)
            await self._record(findings)
        except ApiRefusalError as error:
            raise refusal(error, self._settings.namespace) from error
        finally:
            await asyncio.shield(self._remove(names))
        return found

    async def _look(self, names: list[str]) -> Findings:
        labels = {APP: WORKER_APP, PREFIX + "probe": "true"}
        for name in names:
            pod = self._template.pod(name, labels, {})
            await self._api.create(f"{self._core}/pods", pod)
        probe, neighbour = [await self._started(name) for name in names]
        targets = {
            "another sandbox": [pod_state.address_of(neighbour), WORKER_PORT],
            **await self._services(),
            "its node": [probe["status"]["hostIP"], 10250],
            "the cloud's metadata": ["169.254.169.254", 80],
            "the internet": ["1.1.1.1", 443],
        }
        found = await self._execute(names[0], ["python3", "-c", _PROGRAM, json.dumps(targets)])
        found["processes"] = await self._kubelet_limit(names[0]) or found["processes"]
        return Findings(reached=found.pop("reached"), facts=found)

    async def _kubelet_limit(self, name: str) -> str:
        """Return the kubelet's podPidsLimit where the probe runs; empty if unset or not to be read."""
        try:
            pod = await self._api.get(f"{self._core}/pods/{name}")
            node = text_at(pod, "spec", "nodeName")
            config = await self._api.get(f"/api/v1/nodes/{node}/proxy/configz")
        except (ApiRefusalError, RuntimeUnavailableError) as error:
            log.info("The kubelet's configuration cannot be read: %s", error)
            return ""
        limit = number_at(config, "kubeletconfig", "podPidsLimit")
        return str(limit) if limit > 0 else ""

    async def _services(self) -> dict[str, list[Any]]:
        targets = {}
        for name, path in {"the API server": _API_SERVER, "Redis": _REDIS}.items():
            try:
                spec = (await self._api.get(path))["spec"]
            except ApiRefusalError:
                log.info("There is no %s to probe", name)
                continue
            targets[name] = [spec["clusterIP"], spec["ports"][0]["port"]]
        return targets

    async def _started(self, name: str) -> Resource:
        """Wait until a probe's worker answers."""
        path = f"{self._core}/pods/{name}"
        try:
            async with asyncio.timeout(self._settings.startup_timeout_seconds):
                while True:
                    pod = readable_pod(await self._api.get(path))
                    if pod_state.ended(pod):
                        break
                    if pod_state.address_of(pod) and await self._answers(name):
                        return pod
                    await asyncio.sleep(0.2)
        except TimeoutError:
            pod = readable_pod(await self._api.get(path))
        why = pod_state.reason(pod, [])
        raise SandboxStartError(f"The probe pod {name} does not start. {why}")

    async def _answers(self, name: str) -> bool:
        try:
            await self._api.get(f"{self._proxy(name)}/proof", nonce=secrets.token_hex(16))
        except (ApiRefusalError, RuntimeUnavailableError):
            return False
        return True

    async def _execute(self, name: str, command: list[str]) -> dict[str, Any]:
        token = secrets.token_hex(32)
        claim = {"token": token, "generation": 1, "idle_seconds": 120}
        await self._api.create(f"{self._proxy(name)}/claim", claim)
        request = {
            "command": command,
            "timeout_ms": 60_000,
            "grace_ms": 1000,
            "max_output_bytes": 65_536,
            "stream": False,
        }
        ended = await self._api.create(
            f"{self._proxy(name)}/execute",
            request,
            headers={"x-sandbox-token": token, "x-sandbox-generation": "1"},
        )
        output = base64.b64decode(ended["exit"]["stdout"]["head"])
        try:
            found: dict[str, Any] = json.loads(output)
        except ValueError:
            errors = base64.b64decode(ended["exit"]["stderr"]["head"]).decode(errors="replace")
            raise SandboxStartError(f"The probe's program failed: {errors[-500:]}") from None
        return found

    def _proxy(self, name: str) -> str:
        return f"{self._core}/pods/{name}:{WORKER_PORT}/proxy"

    async def _record(self, findings: Findings) -> None:
        state = "enforced" if is_enforced(findings) else "open"
        record = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NETWORK_FINDING, "annotations": {NETWORK_POLICY: state}},
            "data": {
                "checked_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "reached": json.dumps(dict(findings.reached)),
            },
        }
        await self._api.apply(
            f"{self._core}/configmaps/{NETWORK_FINDING}", record, manager=_MANAGER
        )

    async def _remove(self, names: list[str]) -> None:
        for name in names:
            try:
                await self._api.delete(f"{self._core}/pods/{name}")
            except (ApiRefusalError, RuntimeUnavailableError) as error:
                if getattr(error, "status", None) != 404:
                    log.warning("Delete the probe pod %s by hand: %s", name, error)
