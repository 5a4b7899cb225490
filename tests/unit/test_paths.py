"""Paths as text."""

from __future__ import annotations

import base64

import pytest

from oneseek_sandbox.errors import PathOutsideWorkspaceError
from oneseek_sandbox.paths import in_workspace


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/workspace", "/workspace"),
        ("/workspace/", "/workspace"),
        ("//workspace//a/./b", "/workspace/a/b"),
        ("/workspace/a//b/./", "/workspace/a/b/"),
        ("/workspace/..a/b..", "/workspace/..a/b.."),
        ("/workspace/a b\n", "/workspace/a b\n"),
    ],
)
def test_paths_inside_are_normalised(path, normal):
    assert in_workspace(path, "/workspace") == normal


@pytest.mark.parametrize(
    "path",
    ["", "a", "./a", "/", "/workspaces", "/workspace/../x", "/workspace/a/..", "/a\0", "base64:/"],
)
def test_paths_outside_are_refused(path):
    with pytest.raises(PathOutsideWorkspaceError):
        in_workspace(path, "/workspace")


def test_a_relative_path_is_told_its_absolute_form():
    with pytest.raises(PathOutsideWorkspaceError, match=r"/workspace/src/a\.py"):
        in_workspace("src/a.py", "/workspace")


def test_base64_paths_are_judged_by_what_they_say():
    inside = "base64:" + base64.b64encode(b"/workspace/\xff").decode()
    assert in_workspace(inside, "/workspace") == inside
    outside = "base64:" + base64.b64encode(b"/workspace/../\xff").decode()
    with pytest.raises(PathOutsideWorkspaceError):
        in_workspace(outside, "/workspace")
