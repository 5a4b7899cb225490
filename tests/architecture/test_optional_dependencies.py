"""A backend pays for the frameworks that it uses, and for no others."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

FRAMEWORKS = {"langchain_core", "langsmith", "mcp", "mcp_types", "pydantic_ai", "inspect_ai"}
NAMES = re.compile(r"^[A-Za-z0-9-]+")


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())


def loaded_by(*modules):
    program = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["oneseek_sandbox.client", "oneseek_sandbox.agent_tools", "oneseek_sandbox.cli.app"]
)
def test_no_framework_is_loaded_before_its_adapter_is(module):
    assert not loaded_by(module) & FRAMEWORKS


@pytest.mark.parametrize(
    ("adapter", "its_own"),
    [
        ("langchain", {"langchain_core", "langsmith"}),
        ("mcp", {"mcp", "mcp_types"}),
        ("mcp_http", {"mcp", "mcp_types"}),
        ("pydantic_ai", {"pydantic_ai"}),
        ("inspect_ai", {"inspect_ai"}),
    ],
)
def test_an_adapter_loads_its_own_framework_and_no_other(adapter, its_own):
    loaded = loaded_by(f"oneseek_sandbox.adapters.{adapter}")
    assert loaded & FRAMEWORKS <= its_own
    assert loaded & its_own


def test_every_optional_dependency_is_tested_here(project, root):
    locked = (root / "requirements" / "dev.txt").read_text()
    here = set(re.findall(r"^([a-z0-9-]+)==", locked, re.MULTILINE))
    for extra, wanted in project["project"]["optional-dependencies"].items():
        assert {NAMES.match(line)[0] for line in wanted} <= here, extra


def test_what_runs_in_production_has_no_framework(root):
    locked = (root / "requirements" / "run.txt").read_text()
    names = set(re.findall(r"^([a-z0-9-]+)==", locked, re.MULTILINE))
    assert not {name.replace("-", "_") for name in names} & FRAMEWORKS
