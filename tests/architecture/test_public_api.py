"""What docs/public-api.md lists is there: it is imported, run and rendered as a user would."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from oneseek_sandbox.client.settings import BackendSettings
from oneseek_sandbox.settings import variables

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "public-api.md").read_text("utf-8")
CODE = re.compile(r"`([^`]+)`")

# Frameworks that bring themselves: their adapters are read where they are not installed.
OF_OTHERS = {"deerflow", "deepagents_code"}


def rows(section, columns):
    """The cells of the tables of a section, without their heads."""
    text = PAGE.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| ") and "`" in line
    ]
    return [row for row in cells if len(row) == columns]


IMPORTS = {CODE.findall(path)[0]: CODE.findall(names) for path, names, _ in rows("Python", 3)}
ENTRY_POINTS = [[CODE.findall(cell)[0] for cell in row] for row in rows("Entry points", 3)]
FOLDERS = {
    CODE.findall(folder)[0]: kind
    for folder, kind in rows("Kubernetes", 2)
    if kind in ("base", "overlay", "component")
}
OBJECTS = {
    (kind, name)
    for kind, names in rows("Kubernetes", 2)
    if "`" in names
    for name in CODE.findall(names)
}
TARGETS = CODE.findall(PAGE.split("## Functions", 1)[1].split("##", 1)[0].split("the verb:")[1])
COMMANDS = CODE.findall(PAGE.split("Its subcommands are", 1)[1].split("`--help`", 1)[0])


def test_the_page_is_read_as_it_is_meant():
    assert len(IMPORTS) > 10
    assert len(ENTRY_POINTS) == 3
    assert len(FOLDERS) == 10
    assert len(OBJECTS) > 30
    assert len(TARGETS) == 8
    assert "serve" in COMMANDS


@pytest.mark.parametrize("path", IMPORTS)
def test_a_documented_path_has_its_names(path):
    offered = names_of(path)
    listed = [name for name in IMPORTS[path] if name.isidentifier() and name != path]
    assert sorted(set(listed) - set(offered)) == []


def names_of(path):
    try:
        return importlib.import_module(path).__all__
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in OF_OTHERS:
            raise
    for node in ast.parse(source_of(path).read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    raise AssertionError(f"{path} has no __all__")


def source_of(path):
    return ROOT / "shared" / Path(*path.split(".")).with_suffix(".py")


def test_every_path_that_a_text_for_users_names_is_listed():
    texts = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.py")]
    named = {
        found
        for text in texts
        for found in re.findall(
            r"(?:from |import |use: |`)(oneseek_sandbox(?:\.\w+)+)", text.read_text("utf-8")
        )
    }
    assert sorted(named - set(IMPORTS) - {"oneseek_sandbox.cli"}) == []


@pytest.mark.parametrize(("group", "name", "target"), ENTRY_POINTS)
def test_an_entry_point_leads_to_what_is_documented(group, name, target):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {"console_scripts": project["scripts"], **project["entry-points"]}
    assert declared[group][name] == target
    path, attribute = target.split(":")
    assert attribute in names_of(path)


def test_the_command_has_its_subcommands():
    done = subprocess.run(
        [sys.executable, "-m", "oneseek_sandbox.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"},
    )
    offered = re.findall(r"^[ │]+([a-z-]+)  +\S", done.stdout.split("Commands", 1)[1], re.MULTILINE)
    assert sorted(offered) == sorted(COMMANDS)


@pytest.mark.parametrize("verb", TARGETS)
def test_a_function_has_its_target(verb):
    place = ROOT / "functions" / verb / "main.py"
    spec = importlib.util.spec_from_file_location(f"function_{verb}", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert callable(getattr(module, verb))


def test_settings_are_where_the_page_says():
    for page, names in (("settings", variables().values()), ("backend", _backend_settings())):
        assert f"]({page}.md" in PAGE
        text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
        assert [name for name in names if f"`{name}`" not in text] == []


def _backend_settings():
    return [f"sandbox_{name.removeprefix('sandbox_')}" for name in BackendSettings.model_fields]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_kustomize_folder_is_what_the_page_says(folder):
    kind = "Component" if FOLDERS[folder] == "component" else "Kustomization"
    assert yaml.safe_load((ROOT / folder / "kustomization.yaml").read_text("utf-8"))["kind"] == kind


def test_every_kustomize_folder_that_may_be_used_is_listed():
    made = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("kustomize/*/*/kust*")}
    assert made | {"knative"} == set(FOLDERS)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl renders the manifests")
def test_rendered_objects_have_the_documented_names(tmp_path):
    found = set()
    for folder, kind in FOLDERS.items():
        if kind == "component":
            continue
        found |= objects_of(ROOT / folder)
    found |= objects_of(_overlay_with_every_component(tmp_path))
    assert found == OBJECTS


def _overlay_with_every_component(folder):
    components = sorted(name for name, kind in FOLDERS.items() if kind == "component")
    # Gateway API replaces what nginx made, so it comes after.
    components.sort(key=lambda name: name.endswith("route-gateway-api"))
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(ROOT / "knative", folder)],
        "components": [os.path.relpath(ROOT / name, folder) for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return folder


def objects_of(folder):
    """Kind and name of each object that the folder renders to."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {(_kind(item), _name(item)) for item in yaml.safe_load_all(done.stdout)}


def _kind(item):
    if item["kind"] == "Service":
        return f"Service (`{item['apiVersion']}`)"
    return item["kind"]


def _name(item):
    name = item["metadata"]["name"]
    return name.rsplit("-", 1)[0] if item["kind"] == "ConfigMap" else name


def test_documented_names_are_in_the_manifests():
    """Where nothing renders them, too."""
    texts = [*ROOT.glob("knative/**/*.yaml"), *ROOT.glob("kustomize/**/*.yaml")]
    words = set(re.findall(r"[\w-]+", "\n".join(text.read_text("utf-8") for text in texts)))
    assert sorted(name for _, name in OBJECTS if name not in words) == []
