"""The manifests as kustomize renders them."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
OVERLAYS = ["local", "local-gateway-api", "production"]


@functools.cache
def render(folder):
    done = subprocess.run(
        ["kubectl", "kustomize", str(ROOT / folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=OVERLAYS)
def overlay(request):
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, which renders the manifests, is not installed")
    return f"kustomize/overlays/{request.param}"


@pytest.fixture
def objects(overlay):
    return list(yaml.safe_load_all(render(overlay)))


@pytest.fixture
def of_kind(objects):
    """Objects of a kind by name; `Knative` is the Service that is not the plain one."""

    def of_kind(kind):
        api = "serving.knative.dev/v1" if kind == "Knative" else None
        name = "Service" if kind == "Knative" else kind
        return {
            item["metadata"]["name"]: item
            for item in objects
            if item["kind"] == name and (item["apiVersion"] == api if api else True)
        }

    return of_kind
