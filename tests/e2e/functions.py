"""The Knative Services of the deployment: other settings or scale for a while, and waits."""

from __future__ import annotations

import json
from contextlib import contextmanager

from tests.e2e import cluster


def service(verb):
    return "sandbox-" + verb.replace("_", "-")


def pods(verb):
    return cluster.pods(f"serving.knative.dev/service={service(verb)}", cluster.SYSTEM)


@contextmanager
def changed(*verbs, env=None, annotations=None):
    """Give functions other settings or another scale, as `kn service update` does, and undo it."""
    before = {verb: _template(verb) for verb in verbs}
    try:
        for verb, template in before.items():
            _patch_template(verb, _with(template, env or {}, annotations or {}))
        for verb in verbs:
            settle(verb)
        yield
    finally:
        for verb, template in before.items():
            _patch_template(verb, _undoing(template, annotations or {}))
        for verb in verbs:
            settle(verb)


def _template(verb):
    return cluster.read("ksvc", service(verb))["spec"]["template"]


def _with(template, env, annotations):
    container = dict(template["spec"]["containers"][0])
    kept = [entry for entry in container.get("env", []) if entry["name"] not in env]
    container["env"] = kept + [{"name": name, "value": value} for name, value in env.items()]
    return {"metadata": {"annotations": annotations}, "spec": {"containers": [container]}}


def _undoing(template, annotations):
    there = template["metadata"].get("annotations", {})
    return {
        "metadata": {"annotations": {name: there.get(name) for name in annotations}},
        "spec": {"containers": template["spec"]["containers"]},
    }


def _patch_template(verb, template):
    patch(verb, {"spec": {"template": template}})


def patch(verb, body):
    cluster.kubectl("patch", "ksvc", service(verb), "--type=merge", "-p", json.dumps(body))


def settle(verb, seconds=120):
    """Wait until the newest revision is ready, and the only one that is asked."""

    def settled():
        found = cluster.read("ksvc", service(verb))
        status = found.get("status", {})
        conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
        return (
            status.get("observedGeneration") == found["metadata"]["generation"]
            and conditions.get("Ready") == "True"
            and status["latestCreatedRevisionName"] == status["latestReadyRevisionName"]
        )

    cluster.wait(settled, seconds=seconds, what=f"{service(verb)} is ready")


@contextmanager
def two_revisions(verb, env):
    """Send half of the calls to the revision of now, half to one with other settings."""
    current = cluster.read("ksvc", service(verb))["status"]["latestReadyRevisionName"]
    halves = [
        {"revisionName": current, "percent": 50},
        {"latestRevision": True, "percent": 50},
    ]
    # First pinned, so that the new revision does not have all the calls meanwhile.
    patch(verb, {"spec": {"traffic": halves}})
    try:
        with changed(verb, env=env):
            yield
    finally:
        patch(verb, {"spec": {"traffic": [{"latestRevision": True, "percent": 100}]}})
        settle(verb)
