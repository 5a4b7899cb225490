"""Ratios on a cluster, in one run: ways to run `true` in a sandbox, and ways to get one.

Needs a deployment (make deploy), KUBECONFIG, and pod and service addresses that this machine can
reach, as on a node. KNATIVE_INGRESS is the public ingress; its private one is found by itself.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import ssl
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import from_zero
import httpx
import new_sandboxes
from kubernetes import client, config
from kubernetes.stream import stream

if TYPE_CHECKING:
    from collections.abc import Callable

SYSTEM, SANDBOXES = "oneseek-sandbox-system", "oneseek-sandbox"
TOKEN, GENERATION = "t" * 64, "1"
POD = "bench-" + secrets.token_hex(4)


def read(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        ["kubectl", "get", *arguments, "-o", "json"], capture_output=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def median(call: Callable[[], object], times: int = 40) -> float:
    for _ in range(3):
        call()
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken)


class Verbs:
    """The verbs at an address that goes by its Host header."""

    def __init__(self, url: str, host: str, key: str) -> None:
        headers = {"authorization": f"Bearer {key}", "host": host}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=120)

    def __call__(self, verb: str, **fields: object) -> dict[str, Any]:
        """Call a verb."""
        answer = self._http.post(f"/v1/sandbox/{verb}", json=fields)
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body


class Worker:
    """A worker of our own, claimed by this program."""

    def __init__(self, address: str, port: int) -> None:
        self._http = http.client.HTTPConnection(address, port)

    def __call__(self, verb: str, **fields: object) -> object:
        """Call an operation."""
        headers = {"x-sandbox-token": TOKEN, "x-sandbox-generation": GENERATION}
        self._http.request("POST", f"/{verb}", json.dumps(fields), headers)
        response = self._http.getresponse()
        content = response.read()
        assert response.status == 200, content
        return content


COMMAND = {
    "command": ["true"],
    "timeout_ms": 10_000,
    "grace_ms": 1000,
    "max_output_bytes": 65_536,
    "stream": False,
}


def main() -> None:
    config.load_kube_config()
    core = client.CoreV1Api()
    secret = read("secret", "oneseek-sandbox-keys", "-n", SYSTEM)["data"]["backend-key"]
    key = base64.b64decode(secret).decode()
    route_url = read("ksvc", "sandbox-route", "-n", SYSTEM)["status"]["url"]
    route = Verbs(os.environ["KNATIVE_INGRESS"], route_url.split("//")[1], key)
    private = read("svc", "sandbox-execute", "-n", SYSTEM)["spec"]["externalName"]
    name, namespace = private.split(".")[:2]
    address = read("svc", name, "-n", namespace)["spec"]["clusterIP"]
    function = Verbs(f"http://{address}", f"sandbox-execute.{SYSTEM}.svc.cluster.local", key)

    thread = "bench-" + secrets.token_hex(4)
    sandbox = {"sandbox_id": route("acquire", thread_id=thread)["sandbox_id"]}
    try:
        measure_executes(route, function, sandbox, thread)
    finally:
        route("release", thread_id=thread)
    measure_new_sandboxes(core, route)
    measure_start_from_zero(key)


def measure_executes(route: Verbs, function: Verbs, sandbox: dict[str, Any], thread: str) -> None:
    pods = read("pods", "-n", SANDBOXES, "-l", "app=oneseek-sandbox-worker")["items"]
    (pod,) = (
        p
        for p in pods
        if p["metadata"]["annotations"].get("oneseek-sandbox/sandbox-id") == sandbox["sandbox_id"]
    )
    spec = {
        k: v
        for k, v in pod["spec"].items()
        if k not in ("nodeName", "tolerations", "priority", "preemptionPolicy")
    }
    probe = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD, "namespace": SANDBOXES},
        "spec": spec,
    }
    subprocess.run(
        ["kubectl", "create", "-f", "-"],
        input=json.dumps(probe).encode(),
        check=True,
        capture_output=True,
    )
    try:
        subprocess.run(
            ["kubectl", "-n", SANDBOXES, "wait", f"pod/{POD}", "--for=condition=Ready"],
            check=True,
            capture_output=True,
        )
        time.sleep(1)
        worker = Worker(read("pod", POD, "-n", SANDBOXES)["status"]["podIP"], 8787)
        worker("claim", token=TOKEN, generation=1, idle_seconds=600)
        proxy_path = f"/api/v1/namespaces/{SANDBOXES}/pods/{POD}:8787/proxy/execute"
        api = client.ApiClient()
        server = httpx.Client(
            base_url=api.configuration.host, verify=_tls(api.configuration), timeout=30
        )
        headers = {"x-sandbox-token": TOKEN, "x-sandbox-generation": GENERATION}
        core = client.CoreV1Api()

        def websocket() -> object:
            return stream(
                core.connect_get_namespaced_pod_exec,
                name=POD,
                namespace=SANDBOXES,
                command=["true"],
                stdout=True,
                stderr=True,
            )

        def kubectl() -> object:
            return subprocess.run(
                ["kubectl", "-n", SANDBOXES, "exec", POD, "--", "true"],
                check=True,
                capture_output=True,
            )

        rows = {
            "worker, directly": median(lambda: worker("execute", **COMMAND)),
            "worker, through the pod proxy": median(
                lambda: server.post(proxy_path, json=COMMAND, headers=headers).raise_for_status()
            ),
            "function's own address": median(
                lambda: function("execute", **sandbox, command=["true"])
            ),
            "public route": median(lambda: route("execute", **sandbox, command=["true"])),
            "websocket exec": median(websocket, 15),
            "kubectl exec": median(kubectl, 8),
            "acquire, reused": median(lambda: route("acquire", thread_id=thread)),
        }
    finally:
        subprocess.run(
            ["kubectl", "-n", SANDBOXES, "delete", "pod", POD, "--wait=false"],
            check=False,
            capture_output=True,
        )
    for what, taken in rows.items():
        show(what, taken)
    print(
        f"{'worker : websocket exec':32} 1 : {rows['websocket exec'] / rows['worker, directly']:.1f}   (aim 1 : 12)"
    )
    print(
        f"{'route : function':32} {rows['public route'] / rows['function' + chr(39) + 's own address']:.2f} : 1   (aim 2 : 1)"
    )


def measure_new_sandboxes(core: client.CoreV1Api, route: Verbs) -> None:
    taken = new_sandboxes.measure(core, route)
    for what, milliseconds in taken.items():
        show(what, milliseconds)
    more = taken["acquire, cold"] - taken["bare pod to Ready"]
    print(f"{'cold - bare pod':32} {more:+8.1f} ms   (aim +100 ms)")


def measure_start_from_zero(key: str) -> None:
    function, trivial = from_zero.measure(key)
    show("function ls, first answer from 0", function)
    show("trivial server, the same", trivial)
    print(f"{'function : trivial':32} {function / trivial:.2f} : 1")


def show(what: str, milliseconds: float) -> None:
    print(f"{what:32} {milliseconds:8.1f} ms", flush=True)


def _tls(configuration: client.Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context


if __name__ == "__main__":
    sys.exit(main())
