"""What the tests do by hand on the cluster that an operator would do with kubectl."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import time
from contextlib import asynccontextmanager

import httpx

SYSTEM = "oneseek-sandbox-system"
SANDBOXES = "oneseek-sandbox"
WORKERS = "app=oneseek-sandbox-worker"
VERBS = [
    "acquire",
    "execute",
    "ls",
    "read_file",
    "write_file",
    "replace",
    "release",
    "cleanup_idle",
]


def kubectl(*arguments, given="", namespace=SYSTEM, check=True):
    """Run kubectl and return what it prints; with no namespace, objects say their own."""
    where = ["--namespace", namespace] if namespace else []
    done = subprocess.run(
        ["kubectl", *where, *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert not check or done.returncode == 0, f"kubectl {arguments}: {done.stderr}"
    return done.stdout


def read(*arguments, namespace=SYSTEM):
    """Return objects as JSON."""
    return json.loads(kubectl("get", *arguments, "-o", "json", namespace=namespace))


def recent_logs(seconds=90):
    """Return what the way to the sandboxes has logged lately, but of calls that went well."""
    since = ["--all-containers", "--prefix", "--tail=200", f"--since={seconds}s"]
    functions = kubectl("logs", "-l", "serving.knative.dev/service", *since, check=False)
    ingress = kubectl("logs", "deployment/traefik", *since, namespace="traefik", check=False)
    went_well = ('"level": "info"', '"severity":"INFO"')
    every = (functions + ingress).splitlines()
    lines = [line for line in every if not any(mark in line for mark in went_well)]
    return "\n".join(lines[-60:])


def secret(name, key):
    return base64.b64decode(read("secret", name)["data"][key]).decode()


def pods(selector, namespace=SANDBOXES):
    """Return the pods that are not on their way out."""
    items = read("pods", "-l", selector, namespace=namespace)["items"]
    return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]


def pod_of(sandbox_id):
    """Return the pod of a sandbox."""
    found = [
        pod
        for pod in pods(WORKERS)
        if pod["metadata"]["annotations"].get("oneseek-sandbox/sandbox-id") == sandbox_id
    ]
    assert len(found) == 1, f"{len(found)} pods for {sandbox_id}"
    return found[0]


def sandboxes_of(thread):
    """Return the names of a thread's pods that are not on their way out."""
    return [
        pod["metadata"]["name"]
        for pod in pods(WORKERS)
        if pod["metadata"]["annotations"].get("oneseek-sandbox/thread-id") == thread
    ]


async def until(condition, *, seconds, what):
    """Wait for a condition; the last thing it returned is in the failure."""
    deadline = time.monotonic() + seconds
    while True:
        seen = await asyncio.to_thread(condition)
        if seen:
            return seen
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}; last seen: {seen!r}"
        await asyncio.sleep(0.3)


async def answers(client, *, seconds=60):
    """Wait until the base URL of a client leads to the service."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if (await client.get("/healthz")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "the base URL does not answer"
        await asyncio.sleep(0.2)


def service(verb):
    return "sandbox-" + verb.replace("_", "-")


@asynccontextmanager
async def changed(verbs, env=None, annotations=None, mounted=""):
    """Give functions another environment or scale for a while, as `kn service update` does.

    With `mounted`, the ConfigMap of that name is at `/etc/NAME` for as long.
    """
    before = {}
    for verb in verbs:
        template = read("ksvc", service(verb))["spec"]["template"]
        before[verb] = template
        container = dict(template["spec"]["containers"][0])
        kept = [entry for entry in container.get("env", []) if entry["name"] not in (env or {})]
        container["env"] = kept + [{"name": n, "value": v} for n, v in (env or {}).items()]
        spec = {"containers": [container], "volumes": template["spec"].get("volumes", [])}
        if mounted:
            mount = {"name": mounted, "mountPath": f"/etc/{mounted}", "readOnly": True}
            container["volumeMounts"] = [*container.get("volumeMounts", []), mount]
            spec["volumes"] = [*spec["volumes"], {"name": mounted, "configMap": {"name": mounted}}]
        patch = {"metadata": {"annotations": annotations or {}}, "spec": spec}
        _patch(verb, patch)
    try:
        await settled(verbs)
        yield
    finally:
        for verb, template in before.items():
            names = template["metadata"].get("annotations", {})
            undone = {name: names.get(name) for name in annotations or {}}
            spec = {name: template["spec"].get(name, []) for name in ("containers", "volumes")}
            _patch(verb, {"metadata": {"annotations": undone}, "spec": spec})
        await settled(verbs)


@asynccontextmanager
async def traffic(verb, split):
    """Divide a function's calls among its revisions for a while."""
    patch = json.dumps({"spec": {"traffic": split}})
    kubectl("patch", "ksvc", service(verb), "--type=merge", "-p", patch)
    try:
        yield
    finally:
        whole = json.dumps({"spec": {"traffic": [{"latestRevision": True, "percent": 100}]}})
        kubectl("patch", "ksvc", service(verb), "--type=merge", "-p", whole)
        await settled([verb])


def _patch(verb, template):
    body = json.dumps({"spec": {"template": template}})
    kubectl("patch", "ksvc", service(verb), "--type=merge", "-p", body)


async def settled(verbs):
    """Wait until the newest revision of each function answers, and is the only one asked."""

    def ready():
        for verb in verbs:
            status = read("ksvc", service(verb)).get("status", {})
            generation = read("ksvc", service(verb))["metadata"]["generation"]
            conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
            if status.get("observedGeneration") != generation or conditions.get("Ready") != "True":
                return False
            if status["latestCreatedRevisionName"] != status["latestReadyRevisionName"]:
                return False
        return True

    await until(ready, seconds=240, what=f"{verbs} are ready")
