"""A short program in a pod of the functions' image, for what is reached from the cluster only."""

from __future__ import annotations

import json
import secrets

from tests.e2e import cluster


def run(program, *arguments, seconds=90):
    """Run a Python program in the functions' namespace and return the JSON that it prints."""
    name = f"e2e-{secrets.token_hex(4)}"
    try:
        cluster.kubectl("create", "-f", "-", given=json.dumps(_pod(name, program, arguments)))
        phase = cluster.wait(
            lambda: cluster.read("pod", name)["status"].get("phase") in ("Succeeded", "Failed"),
            seconds=seconds,
            what=f"pod {name} has run",
        )
        printed = cluster.kubectl("logs", name)
        phase = cluster.read("pod", name)["status"]["phase"]
        assert phase == "Succeeded", printed
        return json.loads(printed)
    finally:
        cluster.kubectl("delete", "pod", name, "--ignore-not-found", "--wait=false")


def _pod(name, program, arguments):
    """Return a pod as the CronJob's are: what may run in this namespace is known from there."""
    job = cluster.read("cronjob", "sandbox-cleanup")["spec"]["jobTemplate"]
    spec = job["spec"]["template"]["spec"]
    container = {
        **spec["containers"][0],
        "command": ["python", "-c", program, *arguments],
        "env": [],
        "volumeMounts": [],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "oneseek-sandbox-e2e"}},
        "spec": {**spec, "containers": [container], "volumes": []},
    }
