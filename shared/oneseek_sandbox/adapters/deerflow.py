"""One thread's sandbox as DeerFlow's `Sandbox`, to be used inside DeerFlow.

`sandbox.use: oneseek_sandbox.adapters.deerflow:OneSeekSandboxProvider` in its
configuration. DeerFlow's tools cut what is too long and say `(empty)` and the like; here it is all.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from deerflow.sandbox.exceptions import SandboxRuntimeError
from deerflow.sandbox.sandbox import Sandbox
from deerflow.sandbox.sandbox_provider import SandboxProvider

from oneseek_sandbox import errors
from oneseek_sandbox.adapters.deerflow_operations import Operations, translated
from oneseek_sandbox.adapters.home import HomeOfThread
from oneseek_sandbox.adapters.limits import LONGEST_COMMAND_SECONDS
from oneseek_sandbox.adapters.search import SearchRequest
from oneseek_sandbox.client.blocking import BlockingSandboxes
from oneseek_sandbox.client.opening import connect
from oneseek_sandbox.client.settings import BackendSettings
from oneseek_sandbox.recent import Recent

if TYPE_CHECKING:
    from deerflow.sandbox.search import GrepMatch

    from oneseek_sandbox.client.blocking import BlockingThreadSandbox
    from oneseek_sandbox.client.sandboxes import Sandboxes
    from oneseek_sandbox.client.thread import ThreadSandbox

__all__ = ["DeerFlowSandbox", "OneSeekSandboxProvider"]

_ENVIRONMENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LARGEST_SEARCHED: Final = 1_000_000
_LONGEST_LINE: Final = 200
_MOST_PARKED: Final = 1000


class DeerFlowSandbox(Sandbox):
    """The verbs as DeerFlow's tools call them, from any thread but the sandbox's own.

    Args:
        id: DeerFlow's name for it.
        thread: It names the sandbox, and replaces it when it is gone.
        timeout_seconds: Of commands that name no limit.
    """

    persistent_shell_sessions = False

    def __init__(
        self,
        id: str,  # noqa: A002 - as the base class
        thread: ThreadSandbox | BlockingThreadSandbox,
        *,
        timeout_seconds: float = LONGEST_COMMAND_SECONDS,
    ) -> None:
        super().__init__(id)
        self._home = HomeOfThread(thread)
        self._operations = Operations(self._home.thread, timeout_seconds)

    def prepare(self) -> None:
        """Acquire the sandbox, and make the folders that DeerFlow expects in it.

        Raises:
            SandboxRuntimeError: It cannot be had; the message says why.
        """
        with translated(""):
            self._home.wait(self._operations.acquired())

    def execute_command(
        self, command: str, env: dict[str, str] | None = None, timeout: float | None = None
    ) -> str:
        """Run a command; its output, with `Std Error:` and `Exit Code:` when there is such.

        Raises:
            ValueError: A name in `env` is not one of a variable.
        """
        for name in env or {}:
            if not _ENVIRONMENT_NAME.fullmatch(name):
                raise ValueError(f"env key {name!r} is not a valid environment variable name")
        try:
            return self._home.wait(self._operations.execute(command, env, timeout))
        except errors.SandboxError as error:
            return f"Error: {error.message}"

    def read_file(
        self, path: str, start_line: int | None = None, end_line: int | None = None
    ) -> str:
        """Return a text, whole or the lines from `start_line` to `end_line`, without the last end.

        Raises:
            OSError: Of the kind that fits.
            UnicodeDecodeError: It is no text.
        """
        with translated(path):
            if start_line is None and end_line is None:
                return self._home.wait(self._operations.download(path)).decode()
            return self._home.wait(self._operations.read_lines(path, start_line, end_line))

    def download_file(self, path: str) -> bytes:
        """Return a file's bytes, 100 MiB at most.

        Raises:
            OSError: Of the kind that fits; PermissionError for a path elsewhere.
        """
        try:
            with translated(path):
                return self._home.wait(self._operations.download(path))
        except SandboxRuntimeError as error:
            raise OSError(str(error)) from error

    def list_dir(self, path: str, max_depth: int = 2) -> list[str]:
        """Return paths, sorted; those of directories end with a slash. What no one reads is hidden.

        Raises:
            OSError: Of the kind that fits.
        """
        with translated(path):
            return self._home.wait(self._operations.list_dir(path, max_depth))

    def write_file(self, path: str, content: str, append: bool = False) -> None:
        """Write a text, or add to one.

        Raises:
            OSError: Of the kind that fits.
        """
        with translated(path):
            self._home.wait(self._operations.upload(path, content.encode(), append=append))

    def update_file(self, path: str, content: bytes) -> None:
        """Write bytes.

        Raises:
            OSError: Of the kind that fits.
        """
        with translated(path):
            self._home.wait(self._operations.upload(path, content, append=False))

    def glob(
        self, path: str, pattern: str, *, include_dirs: bool = False, max_results: int = 200
    ) -> tuple[list[str], bool]:
        """Return the paths that fit, and whether there were more.

        Raises:
            OSError: Of the kind that fits.
        """
        with translated(path):
            return self._home.wait(self._operations.glob(path, pattern, include_dirs, max_results))

    def grep(
        self,
        path: str,
        pattern: str,
        *,
        glob: str | None = None,
        literal: bool = False,
        case_sensitive: bool = False,
        max_results: int = 100,
    ) -> tuple[list[GrepMatch], bool]:
        """Return the lines that fit, cut to 200 characters, and whether there were more.

        Raises:
            re.error: The pattern is not a regular expression.
            OSError: Of the kind that fits.
        """
        if not literal:
            re.compile(pattern)
        request = SearchRequest(
            "grep",
            "",
            glob=glob or "",
            pattern=pattern,
            regex=not literal,
            ignore_case=not case_sensitive,
            max_results=max_results,
            max_file_bytes=_LARGEST_SEARCHED,
            max_line=_LONGEST_LINE,
        )
        with translated(path):
            return self._home.wait(self._operations.grep(path, request))


class OneSeekSandboxProvider(SandboxProvider):
    """Gives each of DeerFlow's threads its sandbox, with the user as the scope.

    DeerFlow releases at the end of every turn and shuts down with its process; a sandbox stays
    through both, with its files, and ends when it was idle for long enough.

    Args:
        sandboxes: Which; left out, as `SANDBOX_*` variables say.
        timeout_seconds: Of commands that name no limit.
    """

    uses_thread_data_mounts = False
    needs_upload_permission_adjustment = False

    def __init__(
        self,
        *,
        sandboxes: Sandboxes | None = None,
        timeout_seconds: float = LONGEST_COMMAND_SECONDS,
        **_: Any,  # noqa: ANN401 - what a DeerFlow may pass to others
    ) -> None:
        self._given = sandboxes
        self._timeout_seconds = timeout_seconds
        self._open: BlockingSandboxes | None = None
        self._closing = ExitStack()
        self._idle_timeout_seconds: int | None = None
        self._acquired: dict[str, DeerFlowSandbox] = {}
        self._parked: Recent[str, DeerFlowSandbox] = Recent(_MOST_PARKED)
        self._changing = threading.Lock()

    def acquire(self, thread_id: str | None = None, *, user_id: str | None = None) -> str:
        """Return the id of a thread's sandbox, which is there then; without a thread of a new one.

        Raises:
            SandboxRuntimeError: It cannot be had; the message says why.
        """
        thread_id = thread_id or uuid.uuid4().hex
        name = json.dumps([user_id, thread_id])
        sandbox_id = hashlib.sha256(name.encode()).hexdigest()[:32]
        with self._changing, translated(""):
            sandbox = self._acquired.get(sandbox_id) or self._parked.pop(sandbox_id)
            if sandbox is None:
                sandbox = self._new(sandbox_id, thread_id, user_id)
        sandbox.prepare()
        self._acquired[sandbox_id] = sandbox
        return sandbox_id

    def get(self, sandbox_id: str) -> DeerFlowSandbox | None:
        """Return an acquired sandbox; None asks DeerFlow to acquire. Never waits."""
        return self._acquired.get(sandbox_id)

    def release(self, sandbox_id: str) -> None:
        """Park a sandbox: the thread's next turn has it again, or is told that it is gone."""
        with self._changing:
            sandbox = self._acquired.pop(sandbox_id, None)
            if sandbox is not None:
                self._parked[sandbox_id] = sandbox

    def reset(self) -> None:
        """Forget all sandboxes and let go of connections; the next acquire begins anew."""
        with self._changing:
            self._acquired.clear()
            self._parked.clear()
            self._open = None
            self._closing.close()

    def shutdown(self) -> None:
        """As `reset`."""
        self.reset()

    def _new(self, sandbox_id: str, thread_id: str, user_id: str | None) -> DeerFlowSandbox:
        if self._open is None:
            sandboxes = self._given
            if sandboxes is None:
                settings = BackendSettings.from_environment()
                self._idle_timeout_seconds = settings.sandbox_idle_timeout_seconds
                sandboxes = connect(settings)
            self._open = self._closing.enter_context(BlockingSandboxes(sandboxes))
        thread = self._open.thread(
            thread_id, scope=user_id, idle_timeout_seconds=self._idle_timeout_seconds
        )
        return DeerFlowSandbox(sandbox_id, thread, timeout_seconds=self._timeout_seconds)
