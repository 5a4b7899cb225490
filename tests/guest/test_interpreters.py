"""Every program of a sandbox, on every promised interpreter that this machine has."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from tests.guest.client import parse_exit, read_response, wait_until, worker_process

import oneseek_sandbox.guest
from oneseek_sandbox.adapters.search import SearchRequest
from oneseek_sandbox.guest.bundle import PROGRAMS as OF_SEVERAL_MODULES
from oneseek_sandbox.guest.bundle import bundle

VERSIONS = [f"3.{minor}" for minor in range(9, 15)]
FOLDER = Path(oneseek_sandbox.guest.__file__).parent
OF_ONE_MODULE = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "bundle"}
PROGRAMS = sorted({*OF_SEVERAL_MODULES, *OF_ONE_MODULE})


def version_of(program: str) -> str | None:
    """Return the version a program runs, None when it does not run (a shim of a version manager)."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        command = [program, "-I", "-c", code]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return None


def candidates() -> list[str]:
    """Return the programs that may be an interpreter, by PATH and by pyenv when there is one."""
    names = ["python3", *(f"python{version}" for version in VERSIONS)]
    found = [path for name in names if (path := shutil.which(name))]
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False)
        versions = Path(root.stdout.strip()) / "versions"
        found += [str(path / "bin/python3") for path in sorted(versions.glob("3.*"))]
    return found


def interpreters() -> dict[str, str]:
    """Return one program per version that is here and promised."""
    versions = {version_of(program): program for program in candidates()}
    return {version: versions[version] for version in VERSIONS if version in versions}


INTERPRETERS = interpreters()


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> str:
    """An interpreter of each promised version."""
    if request.param not in INTERPRETERS:
        pytest.skip(f"no Python {request.param} on this machine")
    return INTERPRETERS[request.param]


def test_everything_works_on(python: str) -> None:
    with worker_process(python=python, recorded=False) as worker:
        client = worker.client()
        home = worker.workspace
        boot_id = client.claim()["boot_id"]
        assert client.prove()["right"] is True
        assert client.claim()["boot_id"] == boot_id
        answer = client.execute("cat; echo err >&2; exit 3", stdin="ä", env={"A": "ä"})
        assert (answer["exit_code"], answer["stdout"], answer["stderr"]) == (
            3,
            "ä".encode(),
            b"err\n",
        )
        client.write(f"{home}/a/file", b"one\ntwo\n")
        assert client.call("/replace", path=f"{home}/a/file", old="two", new="2")["size"] == 6
        client.write(f"{home}/a/file", b"3\n", append=True)
        assert client.read(f"{home}/a/file", start_line=2)[1] == b"2\n3\n"
        assert len(client.call("/ls", path=str(home), depth=2)["entries"]) == 2
        assert client.execute("setsid sleep 99 & sleep 99", timeout_ms=300)["timed_out"] is True
        sock = client.start("echo out; sleep 99", request_id="r", stream=True)
        wait_until(lambda: client.call("/health", "GET")["processes"] > 0)
        assert client.call("/cancel", request_id="r") == {"cancelled": True}
        assert parse_exit(read_response(sock))["killed_by"] == "cancelled"
        assert client.execute("kill -9 $PPID; sleep 9")["killed_by"] == "monitor_killed"
        assert client.execute("echo " + "x" * 200_000)["stdout_bytes"] == 200_001


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_compiles_without_a_warning_on(python: str, program: str) -> None:
    code = "import sys; compile(sys.stdin.buffer.read(), 'w', 'exec')"
    command = [python, "-I", "-W", "error", "-c", code]
    subprocess.run(command, input=bundle(program), check=True)


def test_search_finds_on(python: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a.txt").write_text("one\ntwo\n")

    def ask(do: str, **changes: object) -> object:
        request = SearchRequest(do, str(tmp_path), workspace=str(tmp_path), **changes)
        command = [python, "-IS", "-c", bundle("search").decode()]
        asked = json.dumps(dataclasses.asdict(request)).encode()
        answer = json.loads(subprocess.run(command, input=asked, capture_output=True).stdout)
        assert answer["error"] is None
        return answer["results"]

    path = str(tmp_path / "folder/a.txt")
    assert ask("glob", glob="**/{a,b}.*") == [[path, False]]
    assert ask("grep", pattern="tw[o]", regex=True) == [[path, 2, "two"]]


def test_the_probe_of_a_local_sandbox_prints_on(python: str, tmp_path: Path) -> None:
    program = tmp_path / "probe.py"
    program.write_bytes(bundle("probe"))
    command = [python, "-I", "-S", "-E", str(program), "9", str(tmp_path), "/nowhere"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        process.kill()
    assert facts["pid"] == process.pid
    assert facts["present"] == []


def test_the_network_probe_prints_on(python: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        targets = {"here": ["127.0.0.1", server.getsockname()[1]], "nowhere": ["127.0.0.1", 9]}
        command = [python, "-c", bundle("network_probe").decode(), json.dumps(targets)]
        facts = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert facts["reached"] == {"here": "open", "nowhere": "refused"}
    assert facts["uid"] == os.getuid()


def test_a_worker_gets_its_socket_from_another_process_on(python: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for name in ("listener", "entry", "worker"):
        (tmp_path / f"{name}.py").write_bytes(bundle(name))
    handover = str(tmp_path / "socket")
    run = [python, "-I", "-S", "-E"]
    entry = [str(tmp_path / "entry.py"), handover, str(tmp_path / "worker.py")]
    commands = [
        [*run, *entry, "--workspace", str(tmp_path)],
        [*run, str(tmp_path / "listener.py"), handover, str(port)],
    ]
    with contextlib.ExitStack() as stack:
        for command in commands:
            process = stack.enter_context(subprocess.Popen(command))
            stack.callback(process.kill)

        def proof() -> bytes:
            url = f"http://127.0.0.1:{port}/proof?nonce={'0' * 16}"
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read()
            return b""

        assert json.loads(wait_until(proof, 30))["claimed"] is False
