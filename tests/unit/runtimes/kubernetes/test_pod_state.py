"""A pod's status, and the sentence it becomes."""

from __future__ import annotations

import pytest

from oneseek_sandbox.runtimes.kubernetes import pod_state


def _pod(phase="Running", *, state=None, last=None, restarts=0, deleted=False, **status):
    container = {"image": "img:1", "state": state or {"running": {}}, "restartCount": restarts}
    if last:
        container["lastState"] = {"terminated": last}
    metadata = {"deletionTimestamp": "now"} if deleted else {}
    return {
        "metadata": metadata,
        "status": {"phase": phase, "containerStatuses": [container], **status},
    }


def _waiting(reason, message=""):
    return {"waiting": {"reason": reason, "message": message}}


def test_a_running_pod_lives_and_nothing_is_to_be_said():
    pod = _pod()
    assert not pod_state.ended(pod)
    assert pod_state.is_running(pod)
    assert pod_state.reason(pod, []) == ""


@pytest.mark.parametrize(
    "pod",
    [
        _pod(deleted=True),
        _pod("Failed", state={"terminated": {"exitCode": 137}}),
        _pod("Succeeded", state={"terminated": {"exitCode": 0}}),
        _pod("Pending", state=_waiting("ImagePullBackOff")),
        _pod("Pending", state=_waiting("RunContainerError")),
    ],
)
def test_a_pod_that_ends_ended_or_cannot_start_is_not_taken_for_a_live_one(pod):
    assert pod_state.ended(pod)
    assert pod_state.reason(pod, []) != ""


@pytest.mark.finding(21)
@pytest.mark.parametrize("why", ["CrashLoopBackOff", "CreateContainerError", "RunContainerError"])
def test_a_claimed_pod_whose_container_waits_is_not_gone(why):
    pod = _pod(state=_waiting(why), restarts=3, last={"reason": "OOMKilled", "exitCode": 137})
    assert pod_state.ended(pod)
    pod["metadata"]["annotations"] = {"oneseek-sandbox/claimed": "true"}
    assert not pod_state.ended(pod)
    assert "started again" in pod_state.reason(pod, [])
    pod["metadata"]["deletionTimestamp"] = "now"
    assert pod_state.ended(pod)


@pytest.mark.finding(21)
@pytest.mark.parametrize("end", ["OOMKilled", "Error"])
def test_a_restart_in_place_is_told_with_its_cause(end):
    pod = _pod(restarts=2, last={"reason": end, "exitCode": 137})
    assert not pod_state.ended(pod)
    told = pod_state.reason(pod, [])
    assert "restarts so far: 2" in told
    assert ("memory" if end == "OOMKilled" else "137") in told


@pytest.mark.finding(21)
def test_a_restart_is_told_also_when_the_cluster_forgot_its_cause():
    assert "restarts so far: 1" in pod_state.reason(_pod(restarts=1), [])


def test_the_first_failed_pull_is_waited_for():
    assert not pod_state.ended(_pod("Pending", state=_waiting("ErrImagePull")))


def test_a_restarted_container_is_not_handed_out_as_warm():
    assert not pod_state.is_running(_pod(restarts=1))


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        (_pod("Failed", reason="Evicted", message="out of disk"), ["evicted", "out of disk"]),
        (
            _pod("Failed", state={"terminated": {"reason": "OOMKilled", "exitCode": 137}}),
            ["memory", "PROVISIONER_POD_MEMORY_LIMIT"],
        ),
        (
            _pod(restarts=1, last={"reason": "OOMKilled", "exitCode": 137}),
            ["memory", "PROVISIONER_POD_MEMORY_LIMIT"],
        ),
        (
            _pod(
                "Failed",
                state={
                    "terminated": {
                        "reason": "StartError",
                        "exitCode": 128,
                        "message": 'exec: "python3": executable file not found in $PATH',
                    }
                },
            ),
            ["no python3", "img:1", "PROVISIONER_SANDBOX_IMAGE"],
        ),
        (
            _pod("Pending", state=_waiting("ImagePullBackOff", "no such host")),
            ["img:1", "is not available", "no such host"],
        ),
        (_pod("Failed", state={"terminated": {"reason": "Error", "exitCode": 3}}), ["exit code 3"]),
        (_pod(deleted=True), ["being deleted"]),
    ],
)
def test_each_cause_has_its_own_sentence(pod, words):
    told = pod_state.reason(pod, [])
    assert all(word in told for word in words), told


def test_a_pod_without_room_says_what_the_scheduler_says():
    pod = {
        "metadata": {},
        "status": {
            "phase": "Pending",
            "conditions": [{"reason": "Unschedulable", "message": "0/3 nodes are available"}],
        },
    }
    told = pod_state.reason(pod, [])
    assert "No node has capacity" in told
    assert "0/3 nodes are available" in told


def test_a_missing_worker_program_names_the_function_that_brings_it():
    pod = {"metadata": {}, "status": {"phase": "Pending"}}
    event = {
        "type": "Warning",
        "reason": "FailedMount",
        "message": 'MountVolume.SetUp failed: configmap "x" not found',
    }
    assert "cleanup_idle" in pod_state.reason(pod, [event])
