"""The programs that read one request and print one answer, in this process, on a small tree."""

from __future__ import annotations

import errno
import io
import json
import os
import sys

import pytest

from oneseek_sandbox.guest import tree
from oneseek_sandbox.guest.search import main as search


@pytest.fixture
def home(tmp_path):
    """A workspace of eight names, of which one is a link out of it."""
    (tmp_path / "app/deep").mkdir(parents=True)
    (tmp_path / "app/main.py").write_text("import os\nNeedle = 1\n")
    (tmp_path / "app/deep/test.js").write_text(f"needle {'x' * 100}\r\nother\n")
    (tmp_path / "app/binary.py").write_bytes(b"needle\0")
    (tmp_path / "app/.hidden.py").write_text("needle\n")
    (tmp_path / "app/out").symlink_to("/etc")
    (tmp_path / os.fsdecode(b"\xff")).write_text("needle\n")
    return tmp_path


@pytest.fixture
def answer(monkeypatch, capsys):
    """Gives a program a request, and returns its answer."""

    def answer(program, **request):
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request)))
        program.main()
        return json.loads(capsys.readouterr().out)

    return answer


@pytest.fixture
def searched(home, answer):
    """Searches in the workspace; what is left out of a request is as the adapters have it."""

    def searched(do, path="app", **more):
        request = {
            "workspace": str(home), "anywhere": False, "glob": "", "pattern": "", "regex": False,
            "ignore_case": False, "dots": False, "include_dirs": False, "ignore": [],
            "ignore_files": False, "max_results": 100, "max_bytes": 4000, "max_file_bytes": 0,
            "max_line": 20, "seconds": 60,
        }  # fmt: skip
        return answer(search, **request | {"do": do, "path": str(home / path), **more})

    return searched


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"glob": "*.py"}, ["main.py", "binary.py"]),
        ({"glob": "*.py", "dots": True}, ["main.py", "binary.py", ".hidden.py"]),
        ({"glob": "**/*.{js,py}"}, ["main.py", "binary.py", "deep/test.js"]),
        ({"glob": "deep/**"}, ["deep/test.js"]),
        ({"glob": "d*", "include_dirs": True}, ["deep"]),
        ({"glob": "**", "ignore": ["deep"]}, ["main.py", "binary.py"]),
        ({"glob": "*.py", "ignore": ["bin*"], "ignore_files": True}, ["main.py"]),
        ({"glob": "[^b]*.py"}, ["main.py"]),
        ({"glob": "{main}.py"}, []),
        ({"glob": "*/"}, []),
    ],
    ids=str,
)
def test_names_that_fit_are_found(searched, home, fields, names):
    found = searched("glob", **fields)
    assert found["error"] is None
    assert {path for path, _ in found["results"]} == {str(home / "app" / name) for name in names}


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        (
            {"pattern": "needle"},
            [[".hidden.py", 1, "needle"], ["deep/test.js", 1, "needle xxxxxxxxxx..."]],
        ),
        ({"pattern": "needle", "dots": True, "glob": "*.py"}, [[".hidden.py", 1, "needle"]]),
        ({"pattern": "nee.le =", "regex": True, "ignore_case": True}, [["main.py", 2, "Needle = 1"]]),
        ({"pattern": "import os\nother", "glob": "main*"}, [["main.py", 1, "import os"]]),
        ({"pattern": "import|other", "regex": True, "max_file_bytes": 50}, [["main.py", 1, "import os"]]),
        ({"pattern": "need", "path": "app/main.py", "ignore_case": True}, [["main.py", 2, "Needle = 1"]]),
    ],
    ids=str,
)  # fmt: skip
def test_lines_that_fit_are_found(searched, home, fields, lines):
    found = searched("grep", **fields)
    expected = [[str(home / "app" / name), *rest] for name, *rest in lines]
    assert (found["error"], sorted(found["results"])) == (None, expected)


@pytest.mark.parametrize(
    ("do", "fields", "error"),
    [
        ("glob", {"path": "missing"}, "file_not_found"),
        ("glob", {"path": "app/main.py"}, "not_a_directory"),
        ("glob", {"path": "app/out", "glob": "*"}, "invalid_path"),
        ("glob", {"glob": "../*"}, "invalid_pattern"),
        ("glob", {"glob": "{a,b}" * 11}, "pattern_too_broad"),
        ("grep", {"pattern": "(", "regex": True}, "invalid_pattern: missing )"),
        ("delete", {"path": "."}, "is_workspace"),
        ("delete", {"path": "missing"}, "file_not_found"),
    ],
    ids=str,
)
def test_a_refusal_says_why(searched, do, fields, error):
    found = searched(do, **fields)
    assert (found["error"] or "").startswith(error)
    assert found["results"] == []


def test_a_limit_is_told(searched):
    assert searched("glob", glob="*", max_results=1)["cut"] == "budget"
    assert searched("grep", pattern="e", max_bytes=50)["cut"] == "budget"
    assert searched("glob", glob="*", seconds=-1) == {"error": None, "results": [], "cut": "budget"}


def test_what_a_search_deletes_is_gone(searched, home):
    assert searched("delete", "app/out")["error"] is None
    assert searched("delete")["error"] is None
    (left,) = searched("glob", "", glob="*")["results"]
    assert left[0].startswith("base64:")
    assert os.listdir(os.fsencode(home)) == [b"\xff"]


def test_a_directory_is_listed_in_pages(answer, home):
    path = str(home / "app")
    entries, after = [], ""
    while True:
        page = answer(tree, do="list", path=path, after=after, bytes=40)["value"]
        entries += page["entries"]
        after = entries[-1][0]
        if not page["more"]:
            break
    assert entries == [
        [".hidden.py", False, 7],
        ["binary.py", False, 7],
        ["deep", True, None],
        ["main.py", False, 21],
        ["out", True, None],
    ]


def test_a_tree_is_looked_at_made_and_removed(answer, home):
    def done(do, path, **more):
        return answer(tree, do=do, path=f"{home}/{path}", **more)

    assert done("stat", "app/main.py")["value"] == ["main.py", False, 21]
    assert done("stat", "missing")["errno"] == errno.ENOENT
    assert done("make", "new/er")["errno"] is None
    assert done("exists", "new/er")["value"] is True
    assert done("realpath", "app/out")["value"] == "/etc"
    assert done("remove", "app", keep=f"{home}/app/deep")["value"] is False
    assert done("remove", "app/out", keep=str(home))["value"] is True
    assert done("remove", "app", keep=f"{home}/new")["value"] is True
    assert done("remove", "app", keep=f"{home}/new")["errno"] == errno.ENOENT
    assert sorted(os.listdir(os.fsencode(home))) == [b"new", b"\xff"]


def test_links_lead_anywhere_where_all_paths_are_served(searched, home):
    (home / "app/proc").symlink_to("/proc")
    assert searched("glob", "app/out", glob="passwd")["error"] == "invalid_path"
    found = searched("glob", "app/out", anywhere=True, glob="passwd")
    assert [str(home / "app/out/passwd"), False] in found["results"]
    for do in ("glob", "grep"):
        assert searched(do, "app/proc", anywhere=True)["error"] == "permission_denied"
