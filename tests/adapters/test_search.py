"""Searching in a sandbox: names of all kinds, patterns as they are meant, limits that are told of."""

from __future__ import annotations

import base64

import pytest

from oneseek_sandbox.adapters.deepagents import DeepAgentsSandbox
from oneseek_sandbox.client.blocking import BlockingSandboxes
from oneseek_sandbox.client.remote import RemoteSandboxes

# Made inside, by a program: no shell could write some of them.
HOSTILE = [
    b"colon:1:name.txt",
    b"new\nline.txt",
    b"tab\there.txt",
    b"quote'\".txt",
    b"$(touch ran).txt",
    b"-rf",
    b" blank ",
    "ünïcödé-世界.txt".encode(),
    b"back\\slash.txt",
    b"[brackets].txt",
    b"{braces}.txt",
    b"\xff\xfe.txt",
]


@pytest.fixture(scope="module")
def backend(new_thread):
    return DeepAgentsSandbox(new_thread())


@pytest.fixture(scope="module")
def hostile(backend):
    code = f"import os; os.mkdir('h'); os.chdir('h')\nfor n in {HOSTILE!r}: open(n, 'w').write('x: needle\\n')"
    backend.upload_files([("/workspace/make.py", code.encode())])
    assert backend.execute("python3 make.py").exit_code == 0
    return "/workspace/h"


def _written(folder, name):
    path = folder.encode() + b"/" + name
    try:
        return path.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(path).decode()


def test_names_of_all_kinds_are_found_by_name(backend, hostile):
    found = {match["path"] for match in backend.glob("*", path=hostile).matches}
    assert found == {_written(hostile, name) for name in HOSTILE}


def test_names_of_all_kinds_are_found_by_content(backend, hostile):
    matches = backend.grep("x: needle", path=hostile).matches
    assert {match["path"] for match in matches} == {_written(hostile, name) for name in HOSTILE}
    assert {(match["line"], match["text"]) for match in matches} == {(1, "x: needle")}


def test_what_a_search_names_can_be_read_and_deleted(backend, hostile):
    for match in backend.glob("*", path=hostile).matches:
        assert backend.read(match["path"]).file_data["content"] == "x: needle"
    assert backend.execute("test -e h/ran || test -e ran").exit_code == 1
    for match in backend.glob("*", path=hostile).matches:
        assert backend.delete(match["path"]).error is None
    assert backend.ls(hostile).entries == []


def test_a_tree_deeper_than_python_recurses_is_searched_and_deleted(backend):
    made = backend.execute(
        'python3 -c \'import os\nfor _ in range(1500): os.mkdir("d"); os.chdir("d")\''
        " && touch d/d/file && mkdir links && ln -s ../d links/to-it && ln -s loop links/loop"
    )
    assert made.exit_code == 0, made.output
    assert [match["path"] for match in backend.glob("d/d/fi*", path="/workspace").matches] == [
        "/workspace/d/d/file"
    ]
    backend.execute("echo needle-of-the-deep > d/d/d/d/file")
    found = backend.grep("needle-of-the-deep", path="/workspace").matches
    assert [match["path"] for match in found] == ["/workspace/d/d/d/d/file"]
    assert backend.delete("/workspace/d").error is None
    assert backend.execute("ls -d d").exit_code == 2
    assert backend.delete("/workspace/links").error is None


def test_what_may_not_be_deleted_is_said(backend):
    backend.execute("mkdir -p shut/inner && touch shut/inner/file && chmod 555 shut/inner")
    assert "permission_denied" in str(backend.delete("/workspace/shut").error)
    backend.execute("chmod 755 shut/inner")
    assert backend.delete("/workspace/shut").error is None


TREE = [
    "top.py",
    ".env",
    ".hidden.py",
    "src/app.py",
    "src/app.js",
    "src/deep/er/x.py",
    ".github/workflows/ci.yml",
    "a.py/inner.txt",
    "[x].txt",
]


@pytest.fixture(scope="module")
def tree(backend):
    backend.upload_files([(f"/workspace/tree/{path}", b"needle\n") for path in TREE])
    backend.execute("cd tree && ln -s top.py link.py && ln -s /etc/passwd out.py && ln -s / up")
    return "/workspace/tree"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.py", {"top.py", "src/app.py", "src/deep/er/x.py", "link.py"}),
        ("/*.py", {"top.py", "link.py"}),
        ("src/*.py", {"src/app.py"}),
        ("src/**/*.py", {"src/app.py", "src/deep/er/x.py"}),
        ("**/*.yml", set()),
        ("*.yml", {".github/workflows/ci.yml"}),
        (".github/**", {".github/workflows/ci.yml"}),
        (".env", {".env"}),
        (".*", {".env", ".hidden.py"}),
        ("*.{js,yml}", {"src/app.js", ".github/workflows/ci.yml"}),
        ("src/{app,deep/er/{x,y}}.py", {"src/app.py", "src/deep/er/x.py"}),
        ("a.py/**", {"a.py/inner.txt"}),
        ("top.py/**", set()),
        ("[^s]op.py", {"top.py"}),
        ("[!t]op.py", set()),
        ("[[]x].txt", {"[x].txt"}),
        ("*.py/", set()),
        ("src//app.py", {"src/app.py"}),
        ("?op.py", {"top.py"}),
        ("", set()),
    ],
)
def test_a_pattern_finds_what_it_means(backend, tree, pattern, expected):
    result = backend.glob(pattern, path=tree)
    assert result.error is None
    assert {match["path"] for match in result.matches} == {f"{tree}/{path}" for path in expected}


def test_the_same_patterns_choose_the_files_to_search(backend, tree):
    for pattern, expected in {"*.js": 1, "src/**/*.py": 2, "*.{js,yml}": 2}.items():
        assert len(backend.grep("needle", path=tree, glob=pattern).matches) == expected


@pytest.mark.parametrize(
    ("pattern", "error"),
    [("../*", "invalid_pattern"), ("{a,b}" * 12, "pattern_too_broad")],
)
def test_a_pattern_that_asks_too_much_is_refused(backend, tree, pattern, error):
    result = backend.glob(pattern, path=tree)
    assert error in str(result.error)
    assert result.matches is None


def test_a_pattern_made_to_take_for_ever_does_not(backend, new_thread):
    backend.upload_files([("/workspace/" + "d/" * 60 + "file", b"")])
    result = backend.glob("/".join(["**", "*"] * 40) + "/nothing", path="/workspace/d")
    assert (result.error, result.matches) == (None, [])


def test_what_is_over_the_cap_is_told_of_and_what_just_fills_it_is_not(backend):
    backend.write("/workspace/cap/file", "needle\n" * 5)
    exact = backend.grep("needle", path="/workspace/cap", max_count=5)
    assert (len(exact.matches), exact.truncated) == (5, False)
    over = backend.grep("needle", path="/workspace/cap", max_count=4)
    assert (len(over.matches), over.truncated) == (4, True)


def test_more_than_an_answer_holds_is_cut_and_told_of(backend):
    backend.write("/workspace/much/file", f"{'needle' * 1000}\n" * 1000)
    result = backend.grep("needle", path="/workspace/much")
    assert result.truncated
    assert 10 < len(result.matches) < 1000


def test_binary_files_have_no_lines_and_pipes_hold_nobody_up(backend):
    backend.upload_files([("/workspace/bin/data", b"needle\0needle\n")])
    backend.execute("mkfifo bin/pipe")
    assert backend.grep("needle", path="/workspace/bin").matches == []
    assert backend.grep("needle", path="/workspace/bin/pipe").matches == []


def test_each_line_of_a_pattern_counts_as_with_grep(backend):
    backend.write("/workspace/lines/file", "one\ntwo\nthree\n")
    matches = backend.grep("one\nthree", path="/workspace/lines").matches
    assert [match["line"] for match in matches] == [1, 3]


def test_what_cannot_be_read_makes_the_result_partial(backend):
    backend.execute("mkdir -p shut/in && touch shut/in/x shut/y && chmod 0 shut/in")
    result = backend.glob("*", path="/workspace/shut")
    backend.execute("chmod 700 shut/in")
    assert [match["path"] for match in result.matches] == ["/workspace/shut/y"]
    assert (result.truncated, result.truncation_reason) == (True, "unreadable")


def test_modules_in_the_workspace_cannot_pass_for_the_librarys(backend):
    backend.write("/workspace/json.py", "raise SystemExit('taken over')")
    backend.write("/workspace/plain/file", "needle")
    assert len(backend.grep("needle", path="/workspace/plain").matches) == 1


def test_a_server_that_keeps_little_output_gets_smaller_answers(new_server):
    server = new_server(settings={"PROVISIONER_MAX_OUTPUT_BYTES": "1024"})
    with BlockingSandboxes(RemoteSandboxes(server.url)) as sandboxes:
        backend = DeepAgentsSandbox(sandboxes.thread("little-output"))
        backend.write("/workspace/lines", "".join(f"needle {n}\n" for n in range(500)))
        found = backend.grep("needle")
        assert found.truncated
        assert found.matches[0]["text"] == "needle 0"
        page = backend.read("/workspace/lines")
        assert page.file_data["content"].startswith("needle 0\nneedle 1\n")
        assert page.next_offset < page.total_lines == 500
