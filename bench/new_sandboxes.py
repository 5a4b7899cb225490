"""How long a new sandbox takes: cold, warm, beside a bare pod."""

from __future__ import annotations

import json
import secrets
import statistics
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kubernetes import client, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Acquire = Callable[..., dict[str, Any]]

SYSTEM, SANDBOXES = "oneseek-sandbox-system", "oneseek-sandbox"


def kubectl_json(what: str, namespace: str, *arguments: str) -> dict[str, Any]:
    """Return objects as JSON."""
    done = subprocess.run(
        ["kubectl", "-n", namespace, "get", what, *arguments, "-o", "json"],
        capture_output=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def bare_pod(core: client.CoreV1Api, image: str) -> float:
    """Return the milliseconds from creating a plain pod to Ready."""
    name = "bare-" + secrets.token_hex(4)
    security = {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    container = {
        "name": "c",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "600"],
        "securityContext": security,
    }
    body = {
        "metadata": {"name": name},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    begun = time.perf_counter()
    core.create_namespaced_pod(namespace=SANDBOXES, body=body)
    try:
        changes = watch.Watch().stream(
            core.list_namespaced_pod,
            namespace=SANDBOXES,
            field_selector=f"metadata.name={name}",
            timeout_seconds=60,
        )
        for change in changes:
            conditions = change["object"].status.conditions or []
            if any(c.type == "Ready" and c.status == "True" for c in conditions):
                return 1000 * (time.perf_counter() - begun)
        raise TimeoutError("the bare pod is not ready after 60 s")
    finally:
        core.delete_namespaced_pod(name=name, namespace=SANDBOXES)


def measure(core: client.CoreV1Api, acquire: Acquire) -> dict[str, float]:
    """Return medians in milliseconds: of new sandboxes without and with a pool, of a bare pod."""
    image = "python:3.12-slim"
    for item in kubectl_json("cm", SYSTEM)["items"]:
        image = item.get("data", {}).get("PROVISIONER_SANDBOX_IMAGE", image)
    cold, bare = [], []
    with pool_of(0):
        for _ in range(10):
            cold.append(new_sandbox(acquire, warm=False))
            bare.append(bare_pod(core, image))
    with pool_of(2):
        warm = [new_sandbox(acquire, warm=True) for _ in range(10)]
    return {
        "acquire, cold": statistics.median(cold),
        "bare pod to Ready": statistics.median(bare),
        "acquire, warm": statistics.median(warm),
    }


@contextmanager
def pool_of(size: int) -> Iterator[None]:
    """Scale the pool for a while, as an operator does."""
    scale_pool(size)
    try:
        yield
    finally:
        scale_pool(0)


def scale_pool(size: int) -> None:
    pool = ["kubectl", "-n", SANDBOXES, "scale", "deployment/oneseek-sb-warm"]
    subprocess.run([*pool, f"--replicas={size}"], check=True, capture_output=True)
    wait_for_pool(size)


def wait_for_pool(size: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        pods = kubectl_json("pods", SANDBOXES, "-l", "app=oneseek-sandbox-warm")["items"]
        states = [pod["status"].get("containerStatuses", [{}]) for pod in pods]
        if sum(all(c.get("ready") for c in state) for state in states) == size == len(pods):
            return
        time.sleep(0.2)
    raise TimeoutError(f"the pool does not have {size} pods")


def new_sandbox(acquire: Acquire, *, warm: bool) -> float:
    """Return the milliseconds of a first acquire; the pool is full again afterwards."""
    thread = "bench-" + secrets.token_hex(4)
    begun = time.perf_counter()
    answer = acquire("acquire", thread_id=thread)
    taken = 1000 * (time.perf_counter() - begun)
    acquire("release", thread_id=thread)
    assert answer["warm"] is warm, answer
    if warm:
        wait_for_pool(2)
    return taken
