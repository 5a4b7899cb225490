"""One word finds everything, modules stay readable, and nothing names one machine."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from tools.import_graph import graph

from oneseek_sandbox import models
from oneseek_sandbox.control.processes import Processes
from oneseek_sandbox.control.provisioner import Provisioner
from oneseek_sandbox.http.verbs import FUNCTIONS

VERBS = sorted(
    re.sub(r"(?<!^)(?=[A-Z])", "_", name.removesuffix("Request")).lower()
    for name in models.__all__
    if name.endswith("Request")
)
OWN = sorted(set(FUNCTIONS.values()))  # the verbs that are functions
LONGEST_MODULE_LINES = 300


def test_the_picture_of_the_imports_is_of_this_code(root):
    picture = f"```mermaid\n{graph()}\n```\n"
    assert picture in (root / "ARCHITECTURE.md").read_text(), "run: python tools/import_graph.py"


def test_there_are_eight_functions_and_every_verb_has_one(root):
    assert len(OWN) == 8
    assert sorted(FUNCTIONS) == VERBS
    assert sorted(path.parent.name for path in root.glob("functions/*/main.py")) == OWN


@pytest.mark.parametrize("verb", sorted(set(VERBS) - set(OWN)))
def test_a_verb_that_is_no_function_is_found_by_its_name(verb):
    assert FUNCTIONS[verb] == "execute"
    assert callable(getattr(Processes, verb, None))


@pytest.mark.parametrize("verb", OWN)
def test_a_verb_is_found_by_its_name(root, verb):
    assert callable(getattr(Provisioner, verb, None))
    assert (root / "tests" / "functions" / f"test_{verb}.py").is_file()
    function = ast.parse((root / "functions" / verb / "main.py").read_text())
    functions = [
        node for node in function.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [node.name for node in functions if node.decorator_list] == [verb]


@pytest.mark.parametrize("verb", OWN)
def test_a_verb_has_a_manifest(root, verb):
    manifest = (root / "knative" / "functions" / verb / "kustomization.yaml").read_text()
    assert f"sandbox-{verb.replace('_', '-')}}}" in manifest
    assert f"value: {verb}}}" in manifest


def test_no_module_is_longer_than_one_can_read(texts):
    lengths = {path: text.count("\n") for path, text in texts.items() if path.suffix == ".py"}
    long = {str(path): lines for path, lines in lengths.items() if lines > LONGEST_MODULE_LINES}
    assert long == {}


def test_no_text_names_a_machine(texts):
    # A home folder with somebody's name, or the place of somebody's checkout; DeerFlow's own
    # name of a workspace is none.
    place = re.compile(
        r"(?<![\w.])/(?:home/[a-z]\w*/|root/\w|Users/\w|work/\w|mnt/(?!user-data)\w)"
    )
    found = [
        f"{path}: {line.strip()}"
        for path, text in texts.items()
        for line in text.splitlines()
        if place.search(line) and path != Path("tests/architecture/test_layout.py")
    ]
    assert found == []


def test_there_is_no_module_for_odds_and_ends(texts):
    vague = {"utils", "util", "helpers", "common", "misc", "manager"}
    assert [str(path) for path in texts if path.suffix == ".py" and path.stem in vague] == []
