"""A cluster that answers what it is told to: a Kubernetes runtime over it, and a pod to begin with."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

import httpx

from oneseek_sandbox.leases.lease import Thread
from oneseek_sandbox.runtimes.kubernetes.pod_metadata import CLAIMED, fresh_metadata
from oneseek_sandbox.runtimes.kubernetes.pod_spec import WORKER_PORT
from oneseek_sandbox.runtimes.kubernetes.runtime import KubernetesRuntime
from oneseek_sandbox.runtimes.runtime import Labels, SandboxObject
from oneseek_sandbox.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ENDED",
    "LABELS",
    "LIVING",
    "NAME",
    "NOT_FOUND",
    "THREAD",
    "UID",
    "WAITING",
    "Cluster",
    "a_pod",
]

THREAD = Thread("tenant", "thread")
LABELS = Labels(THREAD, 7, idle_ms=900_000, sandbox_id="5" * 32, created_ms=1_790_000_000_000)
UID, NAME = "0b5c8d0e-3f6c-4c55-8d2e-0d4d5b9f3c11", "oneseek-sb-0123456789abcdef"
LIVING = SandboxObject(UID, NAME, f"tcp:10.244.0.7:{WORKER_PORT}", LABELS, claimed=True)
WAITING = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed"}}
ENDED = {
    "terminated": {"exitCode": 137, "reason": "OOMKilled", "startedAt": "2026-11-27T10:00:00Z"}
}
NOT_FOUND = {
    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404,
    "message": f'pods "{NAME}" not found', "reason": "NotFound",
    "details": {"name": NAME, "kind": "pods"},
}  # fmt: skip


def a_pod(state: dict | None = None, *, claimed: bool = True, phase: str = "Running") -> dict:
    """Return a sandbox's pod as a cluster gives it, without what nobody reads."""
    labels, annotations = fresh_metadata(LABELS, now_ms=LABELS.created_ms)
    if claimed:
        annotations[CLAIMED] = "true"
    container = {
        "name": "sandbox", "image": "docker.io/library/python:3.12-slim", "imageID": "sha256:1",
        "containerID": "containerd://2", "ready": True, "started": True, "restartCount": 0,
        "state": state or {"running": {"startedAt": "2026-11-27T10:00:00Z"}}, "lastState": ENDED,
    }  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": NAME, "namespace": "oneseek-sandbox", "uid": UID, "resourceVersion": "12345",
            "labels": labels, "annotations": annotations, "creationTimestamp": "2026-11-27T10:00:00Z",
        },
        "spec": {"nodeName": "node", "volumes": [{"name": "w", "configMap": {"name": "worker-1"}}]},
        "status": {
            "phase": phase, "podIP": "10.244.0.7", "hostIP": "172.18.0.2", "qosClass": "Burstable",
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                            "message": "0/3 nodes are available"}],
            "containerStatuses": [container],
        },
    }  # fmt: skip


class Cluster:
    """Answers each call with the next of what was drawn, and remembers what was asked."""

    def __init__(self, drawn: Callable[[], tuple[int, object]]) -> None:
        self._drawn = drawn
        self.asked: list[tuple[str, str]] = []
        self.answered: list[tuple[int, object]] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.method, request.url.path))
        status, value = self._drawn() if len(self.asked) < 12 else (200, a_pod())
        self.answered.append((status, value))
        return self.respond(status, value)

    @staticmethod
    def respond(status: int, value: object) -> httpx.Response:
        return httpx.Response(status, content=json.dumps(value).encode() + b"\n")

    def runtime(self) -> KubernetesRuntime:
        runtime = KubernetesRuntime(Settings(startup_timeout_seconds=30))
        transport = httpx.MockTransport(self.answer)
        runtime._api._http = httpx.AsyncClient(transport=transport, base_url="http://cluster")
        runtime._api._configuration = SimpleNamespace(get_api_key_with_prefix=lambda *_: "")
        return runtime
