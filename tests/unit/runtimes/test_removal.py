"""Deletion of what hostile code left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oneseek_sandbox.runtimes.local.removal import remove_tree


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    root.mkdir()
    return root


def test_nothing_there_is_nothing_left(tmp_path):
    assert remove_tree(tmp_path / "missing")
    assert remove_tree(tmp_path / "missing" / "below")


def test_files_pipes_and_odd_names_go(tree):
    (tree / "file").write_text("x")
    (tree / "folder").mkdir()
    (tree / "folder" / "new\nline").write_text("x")
    os.mkfifo(tree / "pipe")
    os.close(os.open(os.fsencode(tree) + b"/\xff\xfe", os.O_CREAT))
    assert remove_tree(tree)
    assert not tree.exists()


def test_links_go_and_what_they_point_at_stays(tree, tmp_path):
    target = tmp_path / "precious"
    target.mkdir()
    (target / "file").write_text("mine")
    (tree / "folder").symlink_to(target)
    (tree / "file").symlink_to(target / "file")
    (tree / "loop").symlink_to("loop")
    assert remove_tree(tree)
    assert (target / "file").read_text() == "mine"


def test_a_link_in_place_of_the_tree_is_not_followed(tmp_path):
    target = tmp_path / "precious"
    target.mkdir()
    (target / "file").write_text("mine")
    (tmp_path / "tree").symlink_to(target)
    assert remove_tree(tmp_path / "tree")
    assert (target / "file").exists()


def test_folders_that_may_not_be_entered_go(tree):
    (tree / "closed" / "deep" / "deeper").mkdir(parents=True)
    for folder in ("closed/deep/deeper", "closed/deep", "closed"):
        (tree / folder).chmod(0)
    assert remove_tree(tree)


def test_depth_and_path_length_do_not_matter(tree):
    folder = os.open(tree, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d" * 20, dir_fd=folder)
        inner = os.open("d" * 20, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    before = open_descriptors()
    assert remove_tree(tree)
    assert open_descriptors() == before


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_names_planted_in_the_way_of_the_deletion_do_not_stop_it(tree):
    for number in range(20):
        (tree / "a" / f".lifted-{number}").mkdir(parents=True)
        (tree / f".lifted-{number}" / "full").mkdir(parents=True)
    assert remove_tree(tree)
