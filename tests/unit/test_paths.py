"""Paths as text."""

from __future__ import annotations

import base64

import pytest

from oneseek_sandbox.errors import PathOutsideWorkspaceError
from oneseek_sandbox.paths import in_sandbox


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
    assert in_sandbox(path, "/workspace", anywhere=False) == normal


@pytest.mark.parametrize(
    "path",
    ["", "a", "./a", "/", "/workspaces", "/workspace/../x", "/workspace/a/..", "/a\0", "base64:/"],
)
def test_paths_outside_are_refused(path):
    with pytest.raises(PathOutsideWorkspaceError):
        in_sandbox(path, "/workspace", anywhere=False)


def test_a_relative_path_is_told_its_absolute_form():
    with pytest.raises(PathOutsideWorkspaceError, match=r"/workspace/src/a\.py"):
        in_sandbox("src/a.py", "/workspace", anywhere=False)


def test_base64_paths_are_judged_by_what_they_say():
    inside = "base64:" + base64.b64encode(b"/workspace/\xff").decode()
    assert in_sandbox(inside, "/workspace", anywhere=False) == inside
    outside = "base64:" + base64.b64encode(b"/workspace/../\xff").decode()
    with pytest.raises(PathOutsideWorkspaceError):
        in_sandbox(outside, "/workspace", anywhere=False)


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/", "/"),
        ("//etc//./passwd", "/etc/passwd"),
        ("/tmp/", "/tmp/"),
        ("/workspace/", "/workspace"),
        ("base64:L/8=", "base64:L/8="),
    ],
)
def test_any_path_of_the_sandbox_where_all_are_served(path, normal):
    assert in_sandbox(path, "/workspace", anywhere=True) == normal


@pytest.mark.parametrize("path", ["", "etc", "/..", "/etc/../etc/passwd", "/a\0", "base64:YQ=="])
def test_what_is_no_path_is_refused_where_all_are_served(path):
    with pytest.raises(PathOutsideWorkspaceError):
        in_sandbox(path, "/workspace", anywhere=True)
