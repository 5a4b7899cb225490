"""How long a Knative Service takes from zero to its first answer: a function's, a trivial one's.

Needs a deployment (make deploy), KUBECONFIG and KNATIVE_INGRESS. The two Services are made for this,
with the deployed function's own image and settings, and taken away.
"""

from __future__ import annotations

import json
import os
import secrets
import statistics
import subprocess
import time
from typing import Any

import httpx

SYSTEM = "oneseek-sandbox-system"
TRIVIAL = """
import http.server, os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the first process has no default for it
class Answer(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    do_GET = do_POST
http.server.HTTPServer(("", int(os.environ["PORT"])), Answer).serve_forever()
"""
QUICK = {
    "autoscaling.knative.dev/window": "6s",
    "autoscaling.knative.dev/scale-down-delay": "0s",
    "autoscaling.knative.dev/min-scale": "0",
    "autoscaling.knative.dev/max-scale": "1",
}
PATIENCE_SECONDS = 180


def kubectl(*arguments: str, given: str = "") -> str:
    """Run kubectl in the system's namespace and return what it prints."""
    done = subprocess.run(
        ["kubectl", "-n", SYSTEM, *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def measure(key: str, times: int = 5) -> tuple[float, float]:
    """Return the medians in milliseconds: of the function `ls`, and of a trivial server."""
    template = json.loads(kubectl("get", "ksvc", "sandbox-ls", "-o", "json"))["spec"]["template"]
    names = {kind: f"bench-{kind}-{secrets.token_hex(3)}" for kind in ("function", "trivial")}
    try:
        for kind, name in names.items():
            kubectl("apply", "-f", "-", given=json.dumps(_service(name, template, kind)))
        taken: dict[str, list[float]] = {kind: [] for kind in names}
        for _ in range(times):
            for kind, name in names.items():
                _wait_for_zero(name)
                taken[kind].append(_first_answer(name, key))
    finally:
        kubectl("delete", "ksvc", *names.values(), "--ignore-not-found")
    return statistics.median(taken["function"]), statistics.median(taken["trivial"])


def _service(name: str, template: dict[str, Any], kind: str) -> dict[str, Any]:
    (container,) = template["spec"]["containers"]
    if kind == "trivial":
        container = {**container, "command": ["python3", "-SIc", TRIVIAL]}
    spec = {**template["spec"], "containers": [container]}
    labels = template["metadata"]["labels"]
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "template": {"metadata": {"labels": labels, "annotations": QUICK}, "spec": spec},
        },
    }


def _wait_for_zero(name: str) -> None:
    kubectl("wait", f"ksvc/{name}", "--for=condition=Ready", f"--timeout={PATIENCE_SECONDS}s")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while kubectl("get", "pods", "-l", f"serving.knative.dev/service={name}", "-o", "name"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} did not go to zero")
        time.sleep(0.5)


def _first_answer(name: str, key: str) -> float:
    host = json.loads(kubectl("get", "ksvc", name, "-o", "json"))["status"]["url"].split("//")[1]
    with httpx.Client(base_url=os.environ["KNATIVE_INGRESS"], timeout=120) as client:
        begun = time.perf_counter()
        # The function asks Redis, and says that the thread has no sandbox.
        headers = {"host": host, "authorization": f"Bearer {key}"}
        answer = client.post("/", headers=headers, json={"thread_id": "bench-none"})
        taken = 1000 * (time.perf_counter() - begun)
    if answer.status_code not in (200, 404):
        raise RuntimeError(f"{name} answered {answer.status_code}: {answer.text}")
    return taken
