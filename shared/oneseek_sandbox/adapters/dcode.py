"""Sandboxes for Deep Agents Code: `dcode --sandbox oneseek`. Needs the extra `deepagents`.

`dcode` finds this by the entry point group `deepagents_code.sandbox_providers`, and this finds its
sandboxes by `SANDBOX_*` variables, like any backend.
"""

from __future__ import annotations

import atexit
import threading
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from deepagents_code.integrations.sandbox_provider import (
    SandboxError,
    SandboxNotFoundError,
    SandboxProvider,
    SandboxProviderMetadata,
)

from oneseek_sandbox import errors
from oneseek_sandbox.adapters.deepagents import DeepAgentsSandbox
from oneseek_sandbox.client.blocking import BlockingSandboxes
from oneseek_sandbox.client.opening import connect
from oneseek_sandbox.client.settings import BackendSettings

if TYPE_CHECKING:
    from oneseek_sandbox.client.blocking import BlockingThreadSandbox
    from oneseek_sandbox.client.sandboxes import Sandboxes

__all__ = ["OneSeekSandboxProvider"]

_NAME: Final = "oneseek"
_WORKSPACE: Final = "/workspace"


class OneSeekSandboxProvider(SandboxProvider):
    """Gives `dcode` a sandbox; its id there is the thread's here.

    Args:
        sandboxes: Which; left out, as `SANDBOX_*` variables say.
    """

    def __init__(self, sandboxes: Sandboxes | None = None) -> None:
        self._given = sandboxes
        self._open: BlockingSandboxes | None = None
        self._closing = ExitStack()
        self._idle_timeout_seconds: int | None = None
        self._opening = threading.Lock()

    @property
    def metadata(self) -> SandboxProviderMetadata:
        """What `dcode` shows, and where it works."""
        return SandboxProviderMetadata(name=_NAME, working_dir=_WORKSPACE)

    def get_or_create(
        self,
        *,
        sandbox_id: str | None = None,
        scope: str | None = None,
        timeout_seconds: float = 120,
        workspace: str = _WORKSPACE,
        **unknown: Any,  # noqa: ANN401 - refused
    ) -> DeepAgentsSandbox:
        """Return the sandbox of that id, or a new one without an id.

        Args:
            scope: Tenant or user.
            timeout_seconds: Of commands that name no limit.
            workspace: As the server has it.

        Raises:
            SandboxNotFoundError: There is none of that id, or none any more.
            SandboxError: It cannot be had; the message says why.
            TypeError: A parameter is none of these.
        """
        if unknown:
            raise TypeError(f"Sandboxes of oneseek take no parameter {', '.join(sorted(unknown))}")
        try:
            thread = self._thread(sandbox_id or f"dcode-{uuid.uuid4().hex}", scope)
            acquired = thread.acquire()
            if sandbox_id is not None and not acquired.reused:
                thread.release()
                raise SandboxNotFoundError(
                    f"There is no sandbox {sandbox_id!r} any more: it was released, or idle for too "
                    "long. Start without an id to get a new one."
                )
        except errors.SandboxError as error:
            raise SandboxError(error.message) from error
        return DeepAgentsSandbox(thread, timeout_seconds=timeout_seconds, workspace=workspace)

    def delete(self, *, sandbox_id: str, scope: str | None = None, **_: Any) -> None:  # noqa: ANN401
        """End a sandbox and everything in it; one that is gone is no error.

        Raises:
            SandboxError: It could not be ended; the message says why.
        """
        try:
            self._thread(sandbox_id, scope).release()
        except errors.SandboxError as error:
            raise SandboxError(error.message) from error

    def close(self) -> None:
        """Let go of connections, as at the end of the process; sandboxes stay."""
        with self._opening:
            atexit.unregister(self.close)
            self._open = None
            self._closing.close()

    def _thread(self, thread_id: str, scope: str | None) -> BlockingThreadSandbox:
        with self._opening:
            if self._open is None:
                sandboxes = self._given
                if sandboxes is None:
                    settings = BackendSettings.from_environment()
                    self._idle_timeout_seconds = settings.sandbox_idle_timeout_seconds
                    sandboxes = connect(settings)
                self._open = self._closing.enter_context(BlockingSandboxes(sandboxes))
                atexit.register(self.close)
        return self._open.thread(
            thread_id, scope=scope, idle_timeout_seconds=self._idle_timeout_seconds
        )
