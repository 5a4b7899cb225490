"""What the tests do by hand on the cluster, as an operator would with kubectl."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import time

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

_PAUSE_SECONDS = 0.3


def kubectl(*arguments, given="", namespace=SYSTEM, check=True, seconds=180):
    """Run kubectl and return what it prints; unchecked, its errors too."""
    done = subprocess.run(
        ["kubectl", "--namespace", namespace, *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert not check or done.returncode == 0, f"kubectl {arguments}: {done.stderr}"
    return done.stdout if check else done.stdout + done.stderr


def read(*arguments, namespace=SYSTEM):
    """Return objects as JSON."""
    return json.loads(kubectl("get", *arguments, "-o", "json", namespace=namespace))


def exists(kind, name, namespace=SYSTEM):
    return kubectl("get", kind, name, "--ignore-not-found", "-o", "name", namespace=namespace) != ""


def secret(name, key):
    return base64.b64decode(read("secret", name)["data"][key]).decode()


def pods(selector, namespace=SANDBOXES):
    """Return the pods that are not on their way out."""
    items = read("pods", "-l", selector, namespace=namespace)["items"]
    return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]


def names(found):
    return {pod["metadata"]["name"] for pod in found}


def pods_of_thread(thread_id):
    """Return the sandbox pods of a thread of the scope `default`."""
    return [pod for pod in pods(WORKERS) if _annotation(pod, "thread-id") == thread_id]


def pod_of(sandbox_id):
    """Return the pod of a sandbox."""
    found = [pod for pod in pods(WORKERS) if _annotation(pod, "sandbox-id") == sandbox_id]
    assert len(found) == 1, f"{len(found)} pods for {sandbox_id}"
    return found[0]


def is_gone(pod, namespace=SANDBOXES):
    """Return whether a pod was deleted and is no more, by uid."""
    name = pod["metadata"]["name"]
    text = kubectl("get", "pod", name, "--ignore-not-found", "-o", "json", namespace=namespace)
    return not text or json.loads(text)["metadata"]["uid"] != pod["metadata"]["uid"]


def is_ready(pod):
    conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True"


def _annotation(pod, name):
    return pod["metadata"].get("annotations", {}).get(f"oneseek-sandbox/{name}")


def wait(condition, *, seconds, what):
    """Wait for a condition and return what it returned; the last of it is in the failure."""
    deadline = time.monotonic() + seconds
    while not (seen := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}; last seen: {seen!r}"
        time.sleep(_PAUSE_SECONDS)
    return seen


async def until(condition, *, seconds, what):
    """Wait as `wait` does, while other calls go on."""
    return await asyncio.to_thread(wait, condition, seconds=seconds, what=what)
