"""The pod of a sandbox as a function of the settings."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise

import pytest

from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.kubernetes.pod_metadata import (
    adopting,
    annotating,
    fresh_metadata,
    read_labels,
    taking,
    thread_selector,
)
from oneseek_sandbox.runtimes.kubernetes.pod_patch import patched, read_pod_patch
from oneseek_sandbox.runtimes.kubernetes.pod_spec import PodTemplate, worker_config_map
from oneseek_sandbox.runtimes.runtime import Labels
from oneseek_sandbox.settings import Settings

LABELS = Labels(Thread("tenant", "a/b ü"), 7, idle_ms=900_000, sandbox_id="s" * 32, created_ms=5)


def _template(patch=None, worker=b"worker", **settings):
    return PodTemplate(Settings(**settings), worker, patch)


def _spec(**settings):
    return _template(**settings).pod("x", {}, {})["spec"]


def test_the_pod_is_closed_as_far_as_a_pod_can_be():
    spec = _spec()
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all("hostPath" not in volume for volume in spec["volumes"])


@pytest.mark.finding(1)
def test_a_pod_starts_a_worker_that_was_ended_again_beside_its_files():
    assert _spec()["restartPolicy"] == "OnFailure"
    assert _template().pool()["spec"]["template"]["spec"]["restartPolicy"] == "Always"


def test_the_pool_says_nothing_of_its_size():
    assert "replicas" not in _template().pool()["spec"]


@pytest.mark.parametrize(
    "change",
    [
        {"sandbox_image": "other:1"},
        {"pod_memory_limit": "1Gi"},
        {"runtime_class": "gvisor"},
        {"worker": b"newer"},
        {"patch": {"nodeSelector": {"pool": "sandboxes"}}},
    ],
)
def test_whatever_changes_the_pods_changes_the_templates_digest(change):
    assert _template(**change).digest != _template().digest


def test_the_same_settings_give_the_same_digest_and_others_do_not_matter():
    assert _template(idle_timeout_seconds=5).digest == _template().digest


def test_only_named_resources_are_set():
    assert _spec()["containers"][0]["resources"] == {}
    set_ = _spec(pod_cpu_limit="1", pod_memory_request="64Mi")["containers"][0]["resources"]
    assert set_ == {"requests": {"memory": "64Mi"}, "limits": {"cpu": "1"}}


@pytest.mark.finding(12)
@pytest.mark.parametrize(
    ("limit", "most"),
    [
        ("2Gi", 1932735283),
        ("500M", 450_000_000),
        ("1.5k", 1350),
        ("1000", 900),
        ("2e3", 1800),
        ("10000m", 9),
    ],
)
def test_a_worker_stops_what_writes_before_the_volume_is_full(limit, most):
    command = _spec(pod_disk_limit=limit, tmp_limit_mb=100)["containers"][0]["command"]
    assert command[command.index("--disk-limit") + 1] == str(most)
    assert command[command.index("--tmp-limit") + 1] == str(90 * 1024**2)
    assert "--disk-floor" not in command


def test_the_worker_is_told_that_all_paths_are_open_but_those_it_lives_on():
    container = _spec(file_scope="sandbox")["containers"][0]
    command = container["command"]
    assert command[command.index("--file-scope") + 1] == "sandbox"
    private = {value for key, value in pairwise(command) if key == "--private"}
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert private == mounts - {"/workspace", "/tmp"}
    assert "--file-scope" not in _spec()["containers"][0]["command"]


def test_the_worker_programs_name_follows_from_its_content():
    one, other = (worker_config_map(Settings(), text) for text in (b"one", b"other"))
    assert one["metadata"]["name"] != other["metadata"]["name"]
    assert one["immutable"] is True


def test_labels_are_read_back_as_they_were_written():
    labels, annotations = fresh_metadata(LABELS, now_ms=5)
    pod = {"metadata": {"labels": labels, "annotations": annotations}}
    assert read_labels(pod) == LABELS
    assert labels["app"] == "oneseek-sandbox-worker"
    assert thread_selector(LABELS.thread).endswith(labels["oneseek-sandbox/thread"])


@pytest.mark.parametrize("annotations", [{}, {"oneseek-sandbox/generation": "x"}])
def test_a_pod_that_says_nothing_readable_is_nobodys(annotations):
    assert read_labels({"metadata": {"annotations": annotations}}) is None


def test_taking_tests_that_it_is_still_in_the_pool_and_lets_its_owner_go():
    patch = taking({"metadata": {"uid": "u"}}, LABELS, now_ms=1)
    assert {"op": "test", "path": "/metadata/uid", "value": "u"} in patch
    assert {"op": "test", "path": "/metadata/labels/app", "value": "oneseek-sandbox-warm"} in patch
    assert {"op": "remove", "path": "/metadata/ownerReferences"} in patch


def test_adopting_tests_what_the_pod_said_before():
    tests = [step for step in adopting("u", LABELS, LABELS) if step["op"] == "test"]
    assert {step["value"] for step in tests} == {"u", "7", LABELS.sandbox_id}


def test_a_patch_merges_named_lists_by_name_and_null_removes():
    spec = _spec(
        patch={
            "runtimeClassName": "kata",
            "enableServiceLinks": None,
            "tolerations": [{"key": "sandbox"}],
            "containers": [{"name": "sandbox", "resources": {"limits": {"memory": "2Gi"}}}],
            "volumes": [{"name": "cache", "emptyDir": {}}],
        }
    )
    assert spec["runtimeClassName"] == "kata"
    assert "enableServiceLinks" not in spec
    assert spec["tolerations"] == [{"key": "sandbox"}]
    (container,) = spec["containers"]
    assert container["resources"] == {"limits": {"memory": "2Gi"}}
    assert container["command"][0] == "python3"
    assert [volume["name"] for volume in spec["volumes"]][-1] == "cache"
    assert len(spec["volumes"]) == 5


def test_plain_values_are_replaced():
    assert patched({"a": 1, "b": [1]}, {"a": 2, "b": [2]}) == {"a": 2, "b": [1, 2]}


@pytest.mark.parametrize("text", ["spec: [1]", "metadata: {}", "- 1", "spec: {", "spec: {}\nx: 1"])
def test_a_patch_file_that_is_none_is_refused(tmp_path, text):
    file = tmp_path / "patch.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"patch\.yaml"):
        read_pod_patch(file)


def test_what_acquires_gave_is_in_annotations_and_in_no_label():
    given = dataclasses.replace(LABELS, labels='{"team":"red"}', env=True)
    labels, annotations = fresh_metadata(given, now_ms=5)
    assert annotations["oneseek-sandbox/labels"] == '{"team":"red"}'
    assert annotations["oneseek-sandbox/env"] == "true"
    assert "red" not in json.dumps(labels)
    assert read_labels({"metadata": {"annotations": annotations}}) == given
    assert fresh_metadata(LABELS, now_ms=5)[1].keys() == annotations.keys() - {
        "oneseek-sandbox/labels",
        "oneseek-sandbox/env",
    }


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a":1}', "null", "[" * 100_000])
def test_labels_that_somebody_has_spoilt_are_none(text):
    _, annotations = fresh_metadata(LABELS, now_ms=5)
    annotations["oneseek-sandbox/labels"] = text
    assert read_labels({"metadata": {"annotations": annotations}}) == LABELS


def test_annotating_tests_whose_pod_it_is():
    patch = annotating("u", dataclasses.replace(LABELS, labels="{}", env=True))
    tests = {step["path"]: step["value"] for step in patch if step["op"] == "test"}
    assert tests == {
        "/metadata/uid": "u",
        "/metadata/annotations/oneseek-sandbox~1generation": "7",
        "/metadata/annotations/oneseek-sandbox~1sandbox-id": "s" * 32,
    }
    written = [step["path"] for step in patch if step["op"] == "add"]
    assert written == [
        "/metadata/annotations/oneseek-sandbox~1labels",
        "/metadata/annotations/oneseek-sandbox~1env",
    ]
