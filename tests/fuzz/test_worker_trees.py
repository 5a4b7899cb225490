"""Hostile file trees through a real worker: answers below 500 in time, and nothing outside touched."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz import trees
from tests.fuzz.budget import TIMES, tries
from tests.guest.client import Refused, WorkerProcess, parse_exit, read_response
from tests.guest.conftest import start_in_mode

from oneseek_sandbox.guest.worker.base import STATUS

pytestmark = pytest.mark.faults

PROGRAM = Path(trees.__file__).read_text()
SECRET = b"nobody inside may see this through the worker\n"
LONGEST_SECONDS = 20.0
STEPS = st.lists(
    st.tuples(
        st.sampled_from(trees.KINDS), st.sampled_from(trees.NAMES), st.sampled_from(trees.NAMES),
        st.sampled_from(trees.TARGETS), st.integers(0, 40),
    ),
    min_size=1, max_size=14,
)  # fmt: skip
ENDINGS = st.sampled_from(
    ["", "/", "/a", "/secret", "/..", "/../b", "/new/file", "/d/d/d", "//", "/."]
)


class Target:
    """A worker, a folder that no path of its workspace may lead to, and its caller."""

    def __init__(self, process: WorkerProcess) -> None:
        self.client = process.client()
        self.client.claim()
        self._home = process.workspace
        self.outside = process.folder / "outside"
        self.outside.mkdir()
        (self.outside / "secret").write_bytes(SECRET)
        for path in (self.outside, self.outside / "secret"):
            path.chmod(0o777)  # it is the worker that keeps callers away from it, no mode
        self._before = self._look()
        self._trees = 0

    def new_tree(self, steps: list) -> str:
        self._trees += 1
        root = f"{self._home}/{self._trees}"
        self.client.execute(["mkdir", root])
        answer = self.run(steps=steps, root=root)
        assert answer["stdout"] == b"ready\n", answer
        return root

    def run(self, **task):
        text = json.dumps({**task, "outside": str(self.outside)})
        return self.client.execute(["python3", "-c", PROGRAM], stdin=text, timeout_ms=60_000)

    def call(self, verb, *arguments, **fields):
        """Make a call; gives the answer, None for a refusal."""
        began, refused = time.monotonic(), None
        try:
            answer = getattr(self.client, verb)(*arguments, **fields)
        except Refused as error:
            answer, refused = None, error
        assert time.monotonic() - began < LONGEST_SECONDS
        if refused is not None:
            assert refused.status == STATUS[refused.code] < 500, refused
        return answer

    def list_all(self, path, depth, limit):
        """List page by page; what comes is below the path, in order, and comes once."""
        found, cursor = [], None
        for _ in range(50):
            page = self.call("call", "/ls", path=path, depth=depth, limit=limit, cursor=cursor)
            if page is None:
                break
            found += [raw(entry["path"]) for entry in page["entries"]]
            cursor = page["cursor"]
            if cursor is None:
                break
        parts = [name.split(b"/") for name in found]
        assert parts == sorted(parts)
        assert len(set(found)) == len(found)
        assert all(name.startswith(os.fsencode(self._home)) for name in found)

    def read(self, path, **fields):
        read = self.call("read", path, **fields)
        assert read is None or SECRET not in read[1]

    def _look(self):
        return {
            path.name: (path.read_bytes(), path.stat().st_mode) for path in self.outside.iterdir()
        }

    def check(self):
        """See that nothing outside was changed, and that the worker serves."""
        assert self._look() == self._before
        assert self.client.execute("echo up")["stdout"] == b"up\n"


def raw(path):
    return base64.b64decode(path[7:]) if path.startswith("base64:") else path.encode()


def encoded(path):
    """Return a path as the protocol has it."""
    data = os.fsencode(path)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def target():
    with start_in_mode("first") as process:
        yield Target(process)


@tries(25)
@given(data=st.data())
def test_any_tree_is_listed_read_and_written_in_time(target, data):
    root = target.new_tree(data.draw(STEPS))
    for _ in range(data.draw(st.integers(1, 6))):
        place = root + "/" + data.draw(st.sampled_from(trees.NAMES)) + data.draw(ENDINGS)
        path = encoded(data.draw(st.sampled_from([root, place, place, place])))
        verb = data.draw(st.sampled_from(["ls", "read", "read", "write", "append", "replace"]))
        few = st.integers(1, 30)
        if verb == "ls":
            target.list_all(path, data.draw(st.integers(1, 32)), data.draw(few))
        elif verb == "read":
            ranges = data.draw(
                st.sampled_from(
                    [{"offset": 3}, {"start_line": 2, "end_line": 3}, {}, {"start_line": 4}]
                )
            )
            target.read(path, limit=data.draw(few), **ranges)
        elif verb == "replace":
            every = data.draw(st.booleans())
            target.call("call", "/replace", path=path, old="line", new="", replace_all=every)
        else:
            names = ["create_only", "sync"] if verb == "write" else ["sync"]
            fields = {name: True for name in names if data.draw(st.booleans())}
            if data.draw(st.booleans()):
                fields["mode"] = data.draw(st.sampled_from(["000", "0644", "0777"]))
            target.call("write", path, b"written", append=verb == "append", **fields)
    target.check()
    target.client.execute("chmod -R u+rwX .; rm -rf ./*", timeout_ms=60_000)


def test_a_name_that_turns_while_it_is_walked_leads_nowhere_else(target):
    seconds = 6 * TIMES
    root = target.new_tree([])
    text = json.dumps({"seconds": seconds, "root": root, "outside": str(target.outside)})
    turning = target.client.start(["python3", "-c", PROGRAM], stdin=text, timeout_ms=600_000)
    until = time.monotonic() + seconds
    rounds = served = 0
    while time.monotonic() < until:
        for path in (f"{root}/turning", f"{root}/turning/secret", f"{root}/form-in/secret"):
            served += target.call("call", "/ls", path=path, depth=3, limit=20) is not None
            target.read(path)
            target.call("write", path, b"inside\n")
            target.call("write", path, b"", append=True)
            target.call("call", "/replace", path=path, old="in", new="in", replace_all=True)
        target.call("write", f"{root}/turning/new/file", b"inside\n", sync=True)
        rounds += 1
    target.check()
    assert parse_exit(read_response(turning))["exit_code"] == 0
    assert rounds > 20
    assert served
