"""The pod of a sandbox, as one pure function of the settings, and what it needs around it."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.runtimes.kubernetes.pod_metadata import APP, TEMPLATE, WARM_APP
from oneseek_sandbox.runtimes.kubernetes.pod_patch import patched

if TYPE_CHECKING:
    from oneseek_sandbox.runtimes.kubernetes.api import Resource
    from oneseek_sandbox.settings import Settings

__all__ = [
    "SERVICE_ACCOUNT",
    "WORKER_CODE_APP",
    "WORKER_PORT",
    "PodTemplate",
    "pool_name",
    "worker_config_map",
]

WORKER_PORT: Final = 8787
WORKER_CODE_APP: Final = "oneseek-sandbox-worker-code"
SERVICE_ACCOUNT: Final = "oneseek-sandbox"

_USER: Final = 1000
# gVisor ends the whole sandbox at 1024, and the worker needs a moment to end what passes the limit.
_MAX_PROCESSES: Final = 768
_PREFIXES: Final = "kMGTPE"
_CODE: Final = "/opt/oneseek-sandbox"
_STATE: Final = "/run/oneseek-sandbox"


class PodTemplate:
    """The pods that these settings ask for.

    Args:
        worker: The worker program's source.
        patch: Of POD_PATCH_FILE, laid over the pod's spec.

    Attributes:
        digest: Changes whenever the pods would.
    """

    def __init__(self, settings: Settings, worker: bytes, patch: Resource | None = None) -> None:
        self._settings = settings
        self._spec = patched(_spec(settings, _config_map_name(settings, worker)), patch or {})
        text = json.dumps(self._spec, sort_keys=True)
        self.digest = hashlib.sha256(text.encode()).hexdigest()[:16]

    def pod(self, name: str, labels: dict[str, str], annotations: dict[str, str]) -> Resource:
        """Return a sandbox of its own.

        A worker that the kernel ended is started again beside its files; one that was idle for
        too long ends by itself, and its pod with it (ADR 24).
        """
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": labels,
                "annotations": {**annotations, TEMPLATE: self.digest},
            },
            "spec": {**self._spec, "restartPolicy": "OnFailure"},
        }

    def pool(self) -> Resource:
        """Return the warm pool without its size, which is others' to say."""
        labels = {APP: WARM_APP}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": pool_name(self._settings), "labels": labels},
            "spec": {
                "selector": {"matchLabels": labels},
                "revisionHistoryLimit": 1,
                "template": {
                    "metadata": {"labels": labels, "annotations": {TEMPLATE: self.digest}},
                    "spec": {**self._spec, "restartPolicy": "Always"},
                },
            },
        }


def pool_name(settings: Settings) -> str:
    """Return the name of the pool's Deployment."""
    return f"{settings.pod_prefix}-warm"


def worker_config_map(settings: Settings, worker: bytes) -> Resource:
    """Return the worker program for the pods to mount; its name follows from its content."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": _config_map_name(settings, worker),
            "labels": {APP: WORKER_CODE_APP},
        },
        "immutable": True,
        "data": {"worker.py": worker.decode()},
    }


def _config_map_name(settings: Settings, worker: bytes) -> str:
    return f"{settings.pod_prefix}-worker-{hashlib.sha256(worker).hexdigest()[:12]}"


def _spec(settings: Settings, config_map: str) -> Resource:
    spec: Resource = {
        "automountServiceAccountToken": False,
        "serviceAccountName": SERVICE_ACCOUNT,
        "enableServiceLinks": False,
        # PID 1 ignores SIGTERM; there is nothing to wait for.
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(settings)],
        "volumes": [
            {"name": "workspace", "emptyDir": _empty_dir(settings.pod_disk_limit)},
            {"name": "tmp", "emptyDir": _empty_dir(f"{settings.tmp_limit_mb}Mi")},
            {"name": "state", "emptyDir": _empty_dir("1Mi")},
            {"name": "worker", "configMap": {"name": config_map}},
        ],
    }
    if settings.runtime_class:
        spec["runtimeClassName"] = settings.runtime_class
    return spec


def _container(settings: Settings) -> Resource:
    return {
        "name": settings.worker_container_name,
        "image": settings.sandbox_image,
        "imagePullPolicy": "IfNotPresent",
        "command": [
            "python3",
            "-ISE",
            f"{_CODE}/worker.py",
            "--listen",
            f"$(POD_IP):{WORKER_PORT}",
            "--workspace",
            settings.workspace_dir,
            "--marker",
            f"{_STATE}/claimed",
            "--uid",
            "$(POD_UID)",
            "--max-commands",
            str(settings.max_commands),
            "--max-processes",
            str(min(settings.process_limit, _MAX_PROCESSES)),
            "--end-excess",
            *_disk_options(settings),
            *settings.scope_options(_CODE, _STATE),
        ],
        "workingDir": settings.workspace_dir,
        "env": [
            {"name": "HOME", "value": settings.workspace_dir},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        ],
        "ports": [{"name": "worker", "containerPort": WORKER_PORT}],
        "resources": _resources(settings),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "workspace", "mountPath": settings.workspace_dir},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the sandbox's own
            {"name": "state", "mountPath": _STATE},
            {"name": "worker", "mountPath": _CODE, "readOnly": True},
        ],
    }


def _resources(settings: Settings) -> Resource:
    """Return what the settings name; a LimitRange of the namespace fills the rest."""
    wanted = {
        "requests": {"cpu": settings.pod_cpu_request, "memory": settings.pod_memory_request},
        "limits": {"cpu": settings.pod_cpu_limit, "memory": settings.pod_memory_limit},
    }
    named = {
        kind: {name: amount for name, amount in amounts.items() if amount}
        for kind, amounts in wanted.items()
    }
    return {kind: amounts for kind, amounts in named.items() if amounts}


def _disk_options(settings: Settings) -> list[str]:
    """Return when the worker stops what writes: before the kubelet evicts the pod with its files."""
    options = ["--tmp-limit", str(_most_bytes(f"{settings.tmp_limit_mb}Mi"))]
    if settings.pod_disk_limit:
        options += ["--disk-limit", str(_most_bytes(settings.pod_disk_limit))]
    return options


def _most_bytes(limit: str) -> int:
    """Return nine tenths of a quantity in bytes; the library's own reading of it loads all models."""
    number = limit.rstrip(_PREFIXES + "im")
    unit = limit[len(number) :]
    base = 1024 if unit.endswith("i") else 1000
    power = -1 if unit == "m" else _PREFIXES.index(unit[0]) + 1 if unit else 0
    return int(Fraction(number) * Fraction(base) ** power * 9 / 10)


def _empty_dir(limit: str) -> dict[str, Any]:
    return {"sizeLimit": limit} if limit else {}
