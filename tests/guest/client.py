"""Starts real workers as processes, and a small blocking client that speaks their protocol."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.guest import lines

from oneseek_sandbox.guest.bundle import bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "test-token-" + "0" * 32


def wait_until(reached: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return the first true answer of `reached`; fails when the deadline passes without one."""
    deadline = time.monotonic() + seconds
    while True:
        answer = reached()
        if answer:
            return answer
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


class Refused(Exception):  # noqa: N818
    """An error answer of the worker."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        error = json.loads(body)["error"]
        self.code = error["code"]
        self.message = error["message"]
        self.details = error.get("details")
        super().__init__(f"{status} {self.code}: {self.message}")


class Client:
    """One keep-alive connection to a worker."""

    def __init__(self, address: str, *, token: str = TOKEN, generation: int = 1) -> None:
        self.address = address
        self.token = token
        self.generation = generation
        self._sockets: list[socket.socket] = []
        self._connection = http.client.HTTPConnection("worker", timeout=60)
        self._connection.sock = self.connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()
        for sock in self._sockets:
            sock.close()

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sockets.append(sock)
        sock.settimeout(60)
        sock.connect(self.address)
        return sock

    def headers(self) -> dict[str, str]:
        return {"x-sandbox-token": self.token, "x-sandbox-generation": str(self.generation)}

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        if self._connection.sock is None:
            self._connection.sock = self.connect()
        chunked = body is not None and not isinstance(body, (bytes, str))
        self._connection.request(
            method, path, body, {**self.headers(), **(headers or {})}, encode_chunked=chunked
        )
        return self._connection.getresponse()

    def call(self, route: str, method: str = "POST", **fields: Any) -> Any:
        body = json.dumps(fields).encode() if method == "POST" else None
        return json.loads(self._read(self.send(method, route, body)))

    def prove(self) -> dict[str, Any]:
        nonce = os.urandom(16).hex()
        answer = self.call(f"/proof?nonce={nonce}", "GET")
        if "proof" in answer:
            message = f"{nonce}:{answer['boot_id']}".encode()
            expected = hmac.new(self.token.encode(), message, hashlib.sha256).hexdigest()
            answer["right"] = answer["proof"] == expected
        return answer

    def claim(self, **changes: Any) -> Any:
        claim = {"token": self.token, "generation": self.generation, "idle_seconds": 900}
        return self.call("/claim", **{**claim, **changes})

    def execute(self, command: str | list[str], **fields: Any) -> dict[str, Any]:
        body = json.dumps(execute_fields(command, **fields)).encode()
        return parse_exit(self._read(self.send("POST", "/execute", body)))

    def start(self, command: str | list[str], **fields: Any) -> socket.socket:
        """Send an execute on a connection of its own and return that, without reading."""
        body = json.dumps(execute_fields(command, **fields)).encode()
        sock = self.connect()
        sock.sendall(self.raw_head("/execute", {"content-length": str(len(body))}) + body)
        return sock

    def raw_head(self, path: str, headers: dict[str, str]) -> bytes:
        lines = [f"POST {path} HTTP/1.1", "host: worker"]
        lines += [f"{name}: {value}" for name, value in {**self.headers(), **headers}.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")

    def read(self, path: str, **fields: Any) -> tuple[dict[str, Any], bytes]:
        response = self.send("POST", "/read", json.dumps({"path": path, **fields}).encode())
        data = self._read(response)
        return json.loads(response.headers["x-meta"]), data

    def write(self, path: str, body: Any, **fields: Any) -> Any:
        meta = {"x-meta": json.dumps({"path": path, **fields})}
        return json.loads(self._read(self.send("POST", "/write", body, meta)))

    @staticmethod
    def _read(response: http.client.HTTPResponse) -> bytes:
        data = response.read()
        if response.status != 200:
            raise Refused(response.status, data)
        return data


def execute_fields(command: str | list[str], **fields: Any) -> dict[str, Any]:
    defaults = {
        "timeout_ms": 30_000,
        "grace_ms": 300,
        "max_output_bytes": 1_000_000,
        "stream": False,
    }
    return {"command": command, **defaults, **fields}


def parse_exit(data: bytes) -> dict[str, Any]:
    """Return the last line of an execute answer, its output decoded."""
    exit_ = json.loads(data.splitlines()[-1])["exit"]
    for name in ("stdout", "stderr"):
        stream = exit_[name]
        exit_[name + "_bytes"] = stream["bytes"]
        exit_[name] = base64.b64decode(stream["head"]) + base64.b64decode(stream["tail"])
    return exit_


def read_response(sock: socket.socket) -> bytes:
    """Read one whole answer from a raw connection."""
    with http.client.HTTPResponse(sock) as response:
        response.begin()
        return Client._read(response)


class WorkerProcess:
    """A worker on a unix socket, with its own workspace."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.address = str(folder / "socket")
        self.workspace = folder / "workspace"
        self._clients: list[Client] = []

    def client(self, **changes: Any) -> Client:
        client = Client(self.address, **changes)
        self._clients.append(client)
        return client

    @property
    def worker_pid(self) -> int:
        """The worker's own number out here; bubblewrap is its parent when there is one."""
        for pid in [self.process.pid, *below(self.process.pid)]:
            if Path(f"/proc/{pid}/comm").read_text() == "sandbox-worker\n":
                return pid
        raise AssertionError("the worker is not running")

    def stop(self) -> None:
        for client in self._clients:
            client.close()
        for pid in [*below(self.process.pid), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def below(root: int) -> list[int]:
    """Return the processes below one, deepest last."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{name}/stat").read_bytes()
                parent = int(line[line.rindex(b")") + 2 :].split()[1])
                children.setdefault(parent, []).append(int(name))
    found, todo = [], [root]
    while todo:
        more = children.get(todo.pop(), [])
        found += more
        todo += more
    return found


def hasty(seconds: dict[str, float]) -> bytes:
    """Return the worker with other values of its constants of these names."""
    program = bundle("worker").decode()
    for name, value in seconds.items():
        program, count = re.subn(rf"(?m)^{name} = [0-9.]+", f"{name} = {value}", program)
        assert count == 1, name
    return program.encode()


@contextlib.contextmanager
def worker_process(
    *options: str,
    python: str = sys.executable,
    uid: int | None = None,
    prefix: Callable[[Path], list[str]] | None = None,
    wrapper: Path | None = None,
    listen: str | None = None,
    seconds: dict[str, float] | None = None,
    recorded: bool = True,
) -> Iterator[WorkerProcess]:
    """Run a worker, by default not as PID 1; `prefix` puts a sandbox around it.

    Of `seconds`, each names one of the worker's limits that a test does not wait for in full.
    Without `recorded` it starts itself as it does everywhere else, even where lines are recorded.
    """
    folder = Path(tempfile.mkdtemp(prefix="wk-"))
    (folder / "workspace").mkdir()
    script = folder / "worker.py"
    recorded = recorded and bool(lines.FOLDER) and wrapper is None
    if recorded:
        lines.record(folder, hasty(seconds or {}), python)
    else:
        script.write_bytes(hasty(seconds or {}) if wrapper is None else wrapper.read_bytes())
    if wrapper is not None:
        (folder / "original.py").write_bytes(bundle("worker"))
    if uid is not None:
        for path in (folder, folder / "workspace"):
            os.chown(path, uid, uid)
    folder.chmod(0o755)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / "socket"))
    (folder / "socket").chmod(0o777)
    listener.listen(128)
    command = [*(prefix(folder) if prefix else []), python, "-I", "-S", "-E", str(script)]
    command += ["--listen", listen] if listen else ["--listen-fd", str(listener.fileno())]
    command += ["--workspace", str(folder / "workspace"), *options]
    user = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
    process = subprocess.Popen(
        command, pass_fds=(listener.fileno(),), stdin=subprocess.DEVNULL, cwd="/", **user
    )
    listener.close()
    worker = WorkerProcess(process, folder)
    try:
        yield worker
    finally:
        worker.stop()
        if recorded:
            lines.keep(folder)
        # Not shutil.rmtree: before Python 3.13 it recurses, and tests make trees that are deeper.
        subprocess.run(["rm", "-rf", "--", folder], check=False)
