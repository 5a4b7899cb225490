"""Sandboxes for evals of Inspect: `Task(sandbox="oneseek")`. Needs the extra `inspect-ai`.

Inspect finds this by the entry point group `inspect_ai`, and this finds its sandboxes by `SANDBOX_*`
variables, like any backend.
"""

from __future__ import annotations

import posixpath
import re
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from inspect_ai.util import (
    OutputLimitExceededError,
    SandboxEnvironment,
    SandboxEnvironmentLimits,
    SandboxUnavailableError,
    SandboxUserUnsupportedError,
    sandboxenv,
)
from pydantic import BaseModel, ConfigDict, Field

from oneseek_sandbox import errors
from oneseek_sandbox.adapters.inspect_ai_connection import Connection
from oneseek_sandbox.adapters.inspect_ai_running import result_of, stdin_of
from oneseek_sandbox.adapters.limits import LONGEST_COMMAND_SECONDS
from oneseek_sandbox.adapters.os_errors import file_errors
from oneseek_sandbox.client.thread import GONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspect_ai.util import ExecResult, SandboxEnvironmentConfigType

    from oneseek_sandbox.client.sandboxes import Sandboxes

__all__ = ["OneSeekSandboxConfig", "OneSeekSandboxEnvironment"]

_THREADS: Final = "inspect-"


class OneSeekSandboxConfig(BaseModel):
    """What a task or a sample may say of its sandbox.

    Attributes:
        scope: Tenant or user. Default: the key's only one, or `default`.
        idle_timeout_seconds: 1 to 86400. Samples wait for models, and a sandbox ends when nothing
            is asked of it for so long.
        timeout_seconds: Of commands that name no timeout; at most the server's
            `PROVISIONER_MAX_TIMEOUT_SECONDS`.
        max_output_bytes: Of each output of a command; more is `OutputLimitExceededError`. At most
            the server's `PROVISIONER_OUTPUT_LIMIT_BYTES`. Default: its
            `PROVISIONER_MAX_OUTPUT_BYTES`, which any number of commands may have at a time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scope: str | None = None
    idle_timeout_seconds: int = Field(default=14_400, ge=1, le=86_400)
    timeout_seconds: float = Field(default=LONGEST_COMMAND_SECONDS, gt=0)
    max_output_bytes: int | None = Field(default=None, ge=1)


@sandboxenv(name="oneseek")
class OneSeekSandboxEnvironment(SandboxEnvironment):
    """One sample's sandbox. `sample_init` makes it, and `sample_cleanup` ends it.

    Commands run as the sandbox's one user. Paths that are not absolute are below its workspace;
    others need a server with `PROVISIONER_FILE_SCOPE=sandbox`, and so do setup scripts of samples.

    Args:
        sandboxes: Open ones.
        sandbox_id: Of an acquire.
        workspace: Of the same.
    """

    def __init__(
        self,
        sandboxes: Sandboxes,
        sandbox_id: str,
        *,
        workspace: str = "/workspace",
        config: OneSeekSandboxConfig | None = None,
    ) -> None:
        super().__init__()
        self.sandbox_id = sandbox_id
        self._sandboxes = sandboxes
        self._workspace = workspace
        self._config = config or OneSeekSandboxConfig()

    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,  # noqa: A002 - as the base class
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Run a command to its end.

        A command that timed out is not run again, whatever `timeout_retry` says.

        Raises:
            TimeoutError: It was ended at its timeout.
            PermissionError: `cmd` may not be executed.
            OutputLimitExceededError: Its output is larger than Inspect's limit.
            SandboxUnavailableError: The sandbox is gone, or cannot be reached.
            SandboxUserUnsupportedError: `user` was given.
        """
        if user is not None:
            raise SandboxUserUnsupportedError(
                f"Commands of this sandbox run as its one user, not as {user!r}"
            )
        seconds = timeout or self._config.timeout_seconds
        with _unavailable(), file_errors(cwd or self._workspace):
            where = (self._sandboxes, self.sandbox_id, self._workspace)
            async with stdin_of(input, *where) as stdin:
                ended = await self._sandboxes.execute(
                    cmd,
                    sandbox_id=self.sandbox_id,
                    cwd=None if cwd is None else self._path(cwd),
                    env=env,
                    timeout_seconds=seconds,
                    max_output_bytes=self._config.max_output_bytes,
                    encoding="base64",
                    **stdin,
                )
        return result_of(ended, cmd, seconds)

    async def write_file(self, file: str, contents: str | bytes) -> None:
        """Write a file, whole and atomically; missing directories are made."""
        data = contents.encode() if isinstance(contents, str) else contents
        path = self._path(file)
        with _unavailable(), file_errors(file):
            await self._sandboxes.upload(path, data, sandbox_id=self.sandbox_id)

    @overload
    async def read_file(self, file: str, text: Literal[True] = True) -> str: ...

    @overload
    async def read_file(self, file: str, text: Literal[False]) -> bytes: ...

    async def read_file(self, file: str, text: bool = True) -> str | bytes:
        """Return a file's content; a text has its line ends as they are.

        Raises:
            OutputLimitExceededError: It is larger than Inspect's limit.
        """
        with _unavailable(), file_errors(file):
            opened = self._sandboxes.download(self._path(file), sandbox_id=self.sandbox_id)
            async with opened as found:
                if found.size > SandboxEnvironmentLimits.MAX_READ_FILE_SIZE:
                    limit = SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR
                    raise OutputLimitExceededError(limit, None)
                content = b"".join([chunk async for chunk in found.chunks])
        return content.decode() if text else content

    def default_polling_interval(self) -> float:
        """Return seconds between questions of Inspect's own tools; they cost little here."""
        return 0.2

    def _path(self, path: str) -> str:
        # The service refuses `..`, which here is no way out of anything.
        return posixpath.normpath(posixpath.join(self._workspace, path))

    @classmethod
    async def task_init(cls, task_name: str, config: SandboxEnvironmentConfigType | None) -> None:
        """See that the configuration is one, and that sandboxes can be had."""
        _config(config)
        await Connection.of_this_loop().begin()

    @classmethod
    async def task_cleanup(
        cls, task_name: str, config: SandboxEnvironmentConfigType | None, cleanup: bool
    ) -> None:
        """Let go of connections; a sandbox that is to stay ends when it is idle."""
        await Connection.of_this_loop().end()

    @classmethod
    async def sample_init(
        cls,
        task_name: str,
        config: SandboxEnvironmentConfigType | None,
        metadata: dict[str, str],
    ) -> dict[str, SandboxEnvironment]:
        """Make a sandbox of its own for a sample."""
        wanted = _config(config)
        task = re.sub(r"[^\w.-]", "-", task_name)[:100]
        connection = Connection.of_this_loop()
        sandboxes = await connection.enter()
        try:
            acquired = await sandboxes.acquire(
                f"{_THREADS}{task}-{uuid.uuid4().hex}",
                scope=wanted.scope,
                idle_timeout_seconds=wanted.idle_timeout_seconds,
            )
        except BaseException:
            await connection.leave()
            raise
        sandbox = cls(sandboxes, acquired.sandbox_id, workspace=acquired.workspace, config=wanted)
        return {"default": sandbox}

    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: SandboxEnvironmentConfigType | None,
        environments: dict[str, SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        """End a sample's sandbox and everything in it."""
        connection = Connection.of_this_loop()
        try:
            sandboxes = await connection.sandboxes()
            for environment in environments.values():
                sandbox_id = environment.as_type(cls).sandbox_id
                await _release(sandboxes, sandbox_id)
        finally:
            await connection.leave()

    @classmethod
    async def cli_cleanup(cls, id: str | None) -> None:  # noqa: A002 - as the base class
        """End the sandboxes that evals have left, or the one with this `sandbox_id`."""
        connection = Connection.of_this_loop()
        sandboxes = await connection.enter()
        try:
            for left in (await sandboxes.list_sandboxes()).sandboxes:
                if left.thread_id.startswith(_THREADS) and id in (None, left.sandbox_id):
                    await _release(sandboxes, left.sandbox_id)
        finally:
            await connection.leave()

    @classmethod
    def config_deserialize(cls, config: dict[str, Any]) -> BaseModel:
        """Read a configuration out of a log."""
        return OneSeekSandboxConfig.model_validate(config)


def _config(config: SandboxEnvironmentConfigType | None) -> OneSeekSandboxConfig:
    """Return the configuration of a sandbox.

    Raises:
        TypeError: It is another provider's, or the name of a file.
    """
    if config is None:
        return OneSeekSandboxConfig()
    if not isinstance(config, OneSeekSandboxConfig):
        raise TypeError(
            f"Sandboxes of oneseek take an OneSeekSandboxConfig and no files, not {config!r}"
        )
    return config


async def _release(sandboxes: Sandboxes, sandbox_id: str) -> None:
    try:
        await sandboxes.release(sandbox_id=sandbox_id)
    except GONE:
        return


@contextmanager
def _unavailable() -> Iterator[None]:
    """Raise what Inspect tells the model as the sandbox's failure, and not as the command's."""
    try:
        yield
    except (*GONE, errors.UnavailableError) as error:
        raise SandboxUnavailableError(error.message) from error
    except errors.InvalidRequestError as error:
        raise ValueError(error.message) from error
