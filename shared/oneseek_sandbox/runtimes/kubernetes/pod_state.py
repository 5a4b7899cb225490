"""What a pod's status means for its sandbox, and why one does not run, in words."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.runtimes.kubernetes.pod_metadata import CLAIMED, TEMPLATE

if TYPE_CHECKING:
    from oneseek_sandbox.runtimes.kubernetes.api import Resource

__all__ = ["address_of", "ended", "is_running", "is_to_be_had", "reason"]

_HOPELESS: Final = frozenset(
    {
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
    }
)
"""Reasons of a waiting container that kubelet repeats and no waiting fixes."""


def ended(pod: Resource) -> bool:
    """Return whether a pod is ending, has ended, or will not start.

    One that was claimed has files: as long as it is not ending, a container that waits is started
    again by kubelet, however often it failed, and however long that takes.
    """
    if "deletionTimestamp" in pod["metadata"]:
        return True
    if pod["status"].get("phase") in ("Failed", "Succeeded"):
        return True
    if CLAIMED in pod["metadata"].get("annotations", {}):
        return False
    return any(_waiting(status).get("reason") in _HOPELESS for status in _containers(pod))


def is_running(pod: Resource) -> bool:
    """Return whether its containers run, and are the first that did."""
    statuses = _containers(pod)
    return bool(statuses) and all(
        "running" in status.get("state", {}) and status.get("restartCount") == 0
        for status in statuses
    )


def is_to_be_had(pod: Resource, template: str) -> bool:
    """Return whether a pod of the pool runs and is of this template."""
    if pod["metadata"].get("annotations", {}).get(TEMPLATE) != template or ended(pod):
        return False
    return is_running(pod) and address_of(pod) != ""


def address_of(pod: Resource) -> str:
    """Return the pod's IP address; empty as long as it has none."""
    try:
        return str(ipaddress.ip_address(pod["status"].get("podIP", "")))
    except ValueError:
        return ""


def reason(pod: Resource, events: list[Resource]) -> str:
    """Say in a sentence why a pod does not run; empty when it does and nothing is known."""
    status = pod["status"]
    if status.get("reason") == "Evicted":
        return f"The node evicted its pod: {_sentence(status.get('message', ''))}"
    for container in _containers(pod):
        if why := _of_container(container):
            return why
    if "deletionTimestamp" in pod["metadata"]:
        return "Its pod is being deleted."
    if status.get("phase") == "Failed":
        return f"Its pod failed: {_sentence(status.get('message') or status.get('reason', ''))}"
    for condition in status.get("conditions", []):
        if condition.get("reason") == "Unschedulable":
            return (
                f"No node has capacity for its pod: {_sentence(condition.get('message', ''))} Add "
                "nodes, end sandboxes, or lower PROVISIONER_POD_CPU_REQUEST and "
                "PROVISIONER_POD_MEMORY_REQUEST."
            )
    return _of_events(events) if status.get("phase") == "Pending" else ""


def _of_container(container: Resource) -> str:
    waiting = _waiting(container)
    image, message = container.get("image", ""), waiting.get("message", "")
    why = waiting.get("reason", "")
    if why in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
        return (
            f"The image {image!r} is not available ({why}): {_sentence(message)} Correct "
            "PROVISIONER_SANDBOX_IMAGE, or give a pull secret by PROVISIONER_POD_PATCH_FILE."
        )
    state = container.get("state", {})
    last = state.get("terminated") or container.get("lastState", {}).get("terminated") or {}
    if "running" in state and not container.get("restartCount"):
        return ""
    if last.get("reason") == "OOMKilled":
        return (
            "It was ended because it used more memory than its limit "
            f"(PROVISIONER_POD_MEMORY_LIMIT).{_again(container)}"
        )
    text = f"{last.get('message', '')} {message}"
    if "python3" in text and ("not found" in text or "no such file" in text):
        return (
            f"The image {image!r} has no python3 on its PATH, which the sandbox's worker needs "
            "(3.9 or newer). Use another PROVISIONER_SANDBOX_IMAGE."
        )
    if last:
        return (
            f"Its worker ended with exit code {last.get('exitCode')} ({last.get('reason', '')}): "
            f"{_sentence(last.get('message', '') or message)}{_again(container)}"
        )
    if why in _HOPELESS:
        return f"Its container cannot be started ({why}): {_sentence(message)}"
    return _again(container).strip()  # kubelet may have forgotten how the one before ended


def _again(container: Resource) -> str:
    restarts = container.get("restartCount", 0)
    if not restarts:
        return ""
    if _waiting(container):
        return " It will be started again after a pause, which grows with each time."
    return f" It was started again (restarts so far: {restarts}); its files were kept."


def _of_events(events: list[Resource]) -> str:
    warnings = [event for event in events if event.get("type") == "Warning"]
    if not warnings:
        return "Its pod is pending, and the cluster does not say why."
    last = max(warnings, key=lambda event: str(event.get("lastTimestamp") or ""))
    if last.get("reason") == "FailedMount" and "configmap" in str(last.get("message")):
        return (
            "The worker program is not in the cluster yet; cleanup_idle puts it there. See that "
            "the CronJob sandbox-cleanup runs."
        )
    return f"Its pod is pending ({last.get('reason')}): {_sentence(str(last.get('message', '')))}"


def _containers(pod: Resource) -> list[Resource]:
    statuses: list[Resource] = pod["status"].get("containerStatuses", [])
    return statuses


def _waiting(container: Resource) -> Resource:
    waiting: Resource = container.get("state", {}).get("waiting", {})
    return waiting


def _sentence(text: str) -> str:
    text = text.strip()[:500]
    return text if text.endswith(".") or not text else text + "."
