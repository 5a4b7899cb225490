"""An agent's day with a sandbox: a real project, its tests, a bug, the fix, and a crash.

The project comes from its source archive on PyPI, by exact version and hash. The server may be
killed in the middle (`--restart-command`): thread, files and lease are found again.

    oneseek-sandbox serve &
    python examples/agent_loop.py --restart-command 'systemctl restart oneseek-sandbox'
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Agent", "download_archive", "main", "run"]

PROJECT = "pathspec-0.12.1"
REQUIREMENT = (
    "pathspec==0.12.1 "
    "--hash=sha256:a482d51503a1ab33b1c67a6c3813a26953dbdc71c31dacaef9a838c4e29f5712\n"
)
FOLDER = f"/workspace/{PROJECT}"
SOURCE = f"{FOLDER}/pathspec/util.py"
RIGHT = "norm_file = norm_file[2:]"
# Of another length: Python takes compiled code for current when second and size are the same.
WRONG = "norm_file = norm_file[2 + 1:]"


class Agent:
    """Calls the verbs for one thread, and prints what comes back.

    Args:
        server: Base URL of the server.
        key: Its API key; empty when it has none.
        thread: The thread, new or known.
    """

    def __init__(self, server: str, key: str, thread: str) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(base_url=server, headers=headers, timeout=120)
        self.thread = thread

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def call(self, verb: str, **fields: object) -> dict[str, Any]:
        """Call a verb for this thread; an error of the service ends the program with its text."""
        response = self._client.post(
            f"/v1/sandbox/{verb}", json={"thread_id": self.thread, **fields}
        )
        return _answer(response)

    def acquire(self) -> dict[str, Any]:
        """Get the thread's sandbox."""
        answer = self.call("acquire")
        say(f"acquire -> {answer['sandbox_id']}  reused: {str(answer['reused']).lower()}")
        return answer

    def upload(self, local: Path, path: str) -> None:
        """Send a file as it is, whatever its size."""
        response = self._client.post(
            "/v1/sandbox/write_file",
            params={"thread_id": self.thread, "path": path},
            content=local.read_bytes(),
            headers={"content-type": "application/octet-stream"},
        )
        answer = _answer(response)
        say(f"write_file {path} -> {answer['size']} bytes, sha256 {answer['sha256'][:12]}…")

    def execute(self, command: str, cwd: str = "/workspace") -> int:
        """Run a command, show the end of what it printed, and return its exit code."""
        answer = self.call("execute", command=command, cwd=cwd, timeout_seconds=60)
        say(f"execute {command} -> exit code {answer['exit_code']}, {answer['duration_ms']} ms")
        for line in (answer["stdout"] + answer["stderr"]).splitlines()[-6:]:
            print(f"    | {line}")
        return int(answer["exit_code"])

    def run_tests(self) -> int:
        """Run the project's own suite."""
        return self.execute("python3 -m unittest", cwd=FOLDER)

    def replace(self, old: str, new: str) -> None:
        """Edit the source file."""
        answer = self.call("replace", path=SOURCE, old=old, new=new)
        say(f"replace {old!r} by {new!r} -> {answer['replacements']} replacement")

    def wait_for_server(self, seconds: float = 60) -> None:
        """Wait until the server answers again."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self._client.get("/healthz").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)


def run(agent: Agent, archive: Path, restart: Callable[[], object] | None = None) -> None:
    """Do the whole job; any surprise is an AssertionError.

    Args:
        archive: The project's source archive.
        restart: Kills the server and starts it again; left out, it stays up.
    """
    first = agent.acquire()
    expect(not first["reused"], "a new thread gets a new sandbox")

    agent.upload(archive, f"/workspace/{archive.name}")
    expect(agent.execute(f"tar -xzf {archive.name} && ls {PROJECT}") == 0, "the archive unpacks")
    expect(agent.run_tests() == 0, "the project's tests pass")

    found = agent.call("read_file", path=SOURCE)
    line = found["content"][: found["content"].index(RIGHT)].count("\n") + 1
    shown = agent.call("read_file", path=SOURCE, start_line=line - 4, end_line=line)
    say(f"read_file {SOURCE}, lines {line - 4} to {line} of {found['total_lines']}")
    print("".join(f"    | {text}\n" for text in shown["content"].splitlines()), end="")

    agent.replace(RIGHT, WRONG)
    expect(agent.run_tests() == 1, "the tests find the broken line")
    agent.replace(WRONG, RIGHT)
    expect(agent.run_tests() == 0, "the tests pass again")
    fixed = agent.call("read_file", path=SOURCE)
    expect(fixed["sha256"] == found["sha256"], "the file is what it was, byte for byte")

    again = agent.acquire()
    expect(again["reused"], "the thread has its sandbox still")
    expect(again["sandbox_id"] == first["sandbox_id"], "and it is the same one")

    if restart is not None:
        say("the server is killed and started again")
        restart()
        agent.wait_for_server()
        after = agent.acquire()
        expect(after["reused"], "the lease is found again")
        expect(after["sandbox_id"] == first["sandbox_id"], "for the same sandbox")
        kept = agent.call("read_file", path=SOURCE)
        expect(kept["sha256"] == found["sha256"], "with its files")
        expect(agent.run_tests() == 0, "and the tests pass there")

    released = agent.call("release")
    say(f"release -> released: {str(released['released']).lower()}")
    expect(released["released"], "the sandbox is gone")


def download_archive(folder: Path) -> Path:
    """Fetch the project's source archive with pip, which checks its hash."""
    requirement = folder / "requirement.txt"
    requirement.write_text(REQUIREMENT)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-binary", "pathspec", "--require-hashes"]
    subprocess.run(
        [*pip, *options, "--dest", str(folder), "-r", str(requirement)], check=True, timeout=300
    )
    return folder / f"{PROJECT}.tar.gz"


def say(text: str) -> None:
    """Print a step."""
    print(f"* {text}", flush=True)


def expect(holds: bool, what: str) -> None:
    """Print what was found true.

    Raises:
        AssertionError: It is not true.
    """
    if not holds:
        raise AssertionError(f"Not so: {what}")
    print(f"  ok: {what}", flush=True)


def main() -> None:
    """Run it against a server that is up."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--server", default=os.environ.get("ONESEEK_SANDBOX_URL", "http://127.0.0.1:8002")
    )
    parser.add_argument("--key", default=os.environ.get("ONESEEK_SANDBOX_KEY", ""))
    parser.add_argument("--archive", type=Path, help="the source archive; left out, pip fetches it")
    parser.add_argument(
        "--restart-command", help="a shell line that kills the server and starts it"
    )
    options = parser.parse_args()
    command = options.restart_command
    restart = (lambda: subprocess.run(command, shell=True, check=True)) if command else None
    thread = f"agent-loop-{uuid.uuid4().hex[:8]}"
    with (
        tempfile.TemporaryDirectory() as folder,
        Agent(options.server, options.key, thread) as agent,
    ):
        run(agent, options.archive or download_archive(Path(folder)), restart)


def _answer(response: httpx.Response) -> dict[str, Any]:
    answer: dict[str, Any] = response.json()
    if response.status_code != httpx.codes.OK:
        error = answer["error"]
        raise SystemExit(f"{error['code']}: {error['message']}")
    return answer


if __name__ == "__main__":
    main()
