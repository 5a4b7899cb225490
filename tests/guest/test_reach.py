"""With `--file-scope sandbox` every path of the sandbox's user is served, and nothing else is."""

from __future__ import annotations

import base64
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.guest.client import Client, Refused, WorkerProcess
from tests.guest.conftest import MODES, start_in_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WIDE = ("--file-scope", "sandbox")
FORBIDDEN = (403, "permission_denied")
IRREGULAR = (409, "not_a_regular_file")


@pytest.fixture(scope="module")
def first() -> Iterator[WorkerProcess]:
    """A claimed worker that is PID 1, and to which all paths are open but one folder of its own."""
    with start_in_mode("first", *WIDE, "--private", "/usr/share") as process:
        process.client().claim()
        yield process


@pytest.fixture
def wide(first: WorkerProcess) -> Client:
    return first.client()


@pytest.fixture
def place(first: WorkerProcess, request: pytest.FixtureRequest) -> Path:
    folder = first.workspace / request.node.name.replace("/", "_")
    first.client().execute(["mkdir", "-p", str(folder)])
    return folder


def outcome(call: Callable[[], Any]) -> tuple[int, str]:
    try:
        call()
    except Refused as refused:
        return refused.status, refused.code
    return 200, ""


def calls(client: Client, path: str) -> dict[str, Callable[[], Any]]:
    return {
        "read": lambda: client.read(path),
        "write": lambda: client.write(path, b"x"),
        "append": lambda: client.write(path, b"x", append=True),
        "replace": lambda: client.call("/replace", path=path, old="a", new="b"),
    }


@pytest.mark.parametrize("mode", MODES)
def test_what_the_user_may_read_is_read(mode: str) -> None:
    with start_in_mode(mode, *WIDE) as process:
        client = process.client()
        client.claim()
        assert client.read("/etc/passwd")[1] == Path("/etc/passwd").read_bytes()
        client.write(f"{process.workspace}/a/file", b"text")
        assert client.read(f"{process.workspace}/a/file")[1] == b"text"
        listed = client.call("/ls", path="/etc", limit=10_000)["entries"]
        assert {"path": "/etc/passwd", "type": "file"}.items() <= next(
            entry for entry in listed if entry["path"] == "/etc/passwd"
        ).items()


def test_commands_start_in_any_directory(wide: Client) -> None:
    assert wide.execute("pwd", cwd="/usr/bin")["stdout"] == b"/usr/bin\n"
    assert outcome(lambda: wide.execute("pwd", cwd="/proc")) == FORBIDDEN
    assert outcome(lambda: wide.execute("pwd", cwd="/etc/passwd")) == (409, "not_a_directory")


def test_a_list_of_everything_does_not_enter_what_the_kernel_makes_up(wide: Client) -> None:
    assert {"/etc", "/proc", "/usr"} <= {e["path"] for e in wide.call("/ls", path="/")["entries"]}
    paths: list[str] = []
    cursor = "/proc"
    while cursor and not paths[-1:] > ["/run"]:
        page = wide.call("/ls", path="/", depth=3, limit=10_000, cursor=cursor)
        paths += [entry["path"] for entry in page["entries"]]
        cursor = page["cursor"]
    assert "/run" in paths
    assert [path for path in paths if path.startswith("/proc/")] == []


def test_a_write_succeeds_where_that_of_a_command_does(wide: Client, place: Path) -> None:
    own = ["file", "mine", "shut/file", "shut/new", "gone/new"]
    wide.execute(
        "mkdir shut && echo > shut/file && chmod a-w shut && echo > mine && chmod a-w mine",
        cwd=str(place),
    )
    compared = {}
    paths = [f"{place}/{name}" for name in own]
    paths += [f"{folder}/new" for folder in ("/", "/etc", "/usr/lib", "/root", "/run", "/tmp")]
    paths += ["/dev/shm/new", "/dev/new", "/etc/passwd", "/usr/bin/env", "/etc/ssl/certs"]
    for path in paths:
        script = 'mkdir -p "${0%/*}" && printf x > "$0"'
        command = wide.execute(["sh", "-c", script, path])["exit_code"] == 0
        wide.execute(["rm", "-f", path] if path.endswith("/new") else ["true"])
        for name in ("write", "append"):
            found = outcome(calls(wide, path)[name])
            compared[path, name] = (command, found == (200, ""))
            assert found[0] == 200 or 400 <= found[0] < 500, (path, found)
            if path.endswith("/new"):
                wide.execute(["rm", "-rf", path])
    # A file is replaced by a new one, so what it lies in has to be writable as well.
    assert compared.pop((f"{place}/shut/file", "write")) == (True, False)
    assert {key: pair for key, pair in compared.items() if pair[0] != pair[1]} == {}
    assert {"/dev/shm/new", "/run/new"} <= {
        path for (path, _), pair in compared.items() if all(pair)
    }


def test_synced_writes_reach_the_disk_outside_the_workspace_too(wide: Client) -> None:
    assert wide.write("/dev/shm/a/b/file", b"text", sync=True)["size"] == 4
    assert wide.read("/dev/shm/a/b/file")[1] == b"text"


@pytest.mark.parametrize(
    "path",
    [
        "/proc/self/environ",
        "/proc/1/environ",
        "/proc/1/root/etc/passwd",
        "/proc/self/cwd/file",
        "/proc/self/fd/0",
        "/proc/new",
        "/dev/fd/0",
        "/dev/stdin",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/usr/share/hidden",
        "/usr/bin/../share/hidden",
    ],
)
def test_what_the_kernel_makes_up_and_the_worker_has_is_refused(
    wide: Client, place: Path, path: str
) -> None:
    if ".." not in path:
        for call in calls(wide, path).values():
            assert outcome(call) == FORBIDDEN
    wide.execute(["ln", "-s", path, str(place / "link")])
    for call in calls(wide, f"{place}/link").values():
        assert outcome(call) == FORBIDDEN


@pytest.mark.parametrize("path", ["/proc", "/proc/self", "/proc/1/fd", "/sys", "/usr/share"])
def test_such_directories_are_not_listed(wide: Client, path: str) -> None:
    assert outcome(lambda: wide.call("/ls", path=path)) == FORBIDDEN


def test_a_refusal_says_what_to_do(wide: Client) -> None:
    with pytest.raises(Refused, match=r"in proc, which the kernel makes up\. Use a command"):
        wide.read("/proc/meminfo")
    with pytest.raises(Refused, match=r"use another path"):
        wide.read("/usr/share/hidden")


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/dev/tty", "/dev/full"])
def test_devices_are_refused(wide: Client, place: Path, path: str) -> None:
    wide.execute(["ln", "-s", path, str(place / "link")])
    for name in (path, f"{place}/link"):
        for call in calls(wide, name).values():
            assert outcome(call) in (IRREGULAR, FORBIDDEN)


def test_pipes_and_sockets_are_refused_at_once(wide: Client, place: Path) -> None:
    wide.execute(
        "mkfifo pipe; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'",
        cwd=str(place),
    )
    for name in ("pipe", "sock"):
        for call in calls(wide, f"{place}/{name}").values():
            assert outcome(call) == IRREGULAR


def test_links_lead_anywhere_else(wide: Client, place: Path) -> None:
    wide.execute(
        "ln -s /etc etc; ln -s ../../../../../../../../../../etc up; ln -s loop loop",
        cwd=str(place),
    )
    for name in ("etc", "up"):
        assert wide.read(f"{place}/{name}/passwd")[1] == Path("/etc/passwd").read_bytes()
    assert outcome(lambda: wide.read(f"{place}/loop")) == (400, "path_outside_workspace")


@pytest.mark.parametrize("path", ["relative", "", "/etc/../etc/passwd", "/.."])
def test_paths_are_absolute_and_without_dots(wide: Client, path: str) -> None:
    assert outcome(lambda: wide.read(path)) == (400, "path_outside_workspace")


def test_a_link_that_turns_shows_nothing_of_the_kernel(wide: Client, place: Path) -> None:
    wide.execute("mkdir real && echo -n inside > real/environ", cwd=str(place))
    turning = wide.start(
        "while :; do ln -sfn real next; mv -T next turning; ln -sfn /proc/self next;"
        " mv -T next turning; done",
        cwd=str(place),
        timeout_ms=60_000,
        request_id="turning",
    )
    found: set[object] = set()
    for _ in range(400):
        try:
            found.add(wide.read(f"{place}/turning/environ")[1])
        except Refused as refused:
            found.add(refused.code)
    wide.call("/cancel", request_id="turning")
    turning.close()
    assert found <= {b"inside", "permission_denied", "file_not_found", "path_changed"}
    assert b"inside" in found


def test_what_an_earlier_worker_left_in_tmp_goes(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs a /tmp of its own")
    draft = Path("/tmp") / (".oneseek-" + os.urandom(12).hex() + ".tmp")
    draft.write_bytes(b"")
    done = threading.Event()
    with start_in_mode("root", *WIDE) as process:
        process.client().claim()
        for _ in range(500):
            if not draft.exists():
                done.set()
                break
            process.client().call("/health", "GET")
            done.wait(0.02)
    assert done.is_set()


def test_a_name_that_is_no_text_is_read(wide: Client, place: Path) -> None:
    name = b"/dev/shm/\xff"
    path = "base64:" + base64.b64encode(name).decode()
    wide.write(path, b"text")
    assert wide.read(path)[1] == b"text"
