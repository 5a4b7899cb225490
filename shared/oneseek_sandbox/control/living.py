"""Whose sandboxes live, asked by a process that serves none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from oneseek_sandbox.control.assembly import build_runtime
from oneseek_sandbox.runtimes.local.living import living_threads

if TYPE_CHECKING:
    from oneseek_sandbox.leases.store import Thread
    from oneseek_sandbox.runtimes.runtime import Runtime
    from oneseek_sandbox.settings import Settings

__all__ = ["find_living"]


async def find_living(settings: Settings) -> list[Thread]:
    """Return the threads whose sandboxes have processes now. No self-test is run.

    Sandboxes of the home are looked at whatever runtime the settings name.

    Raises:
        ConfigurationError: The runtime cannot be asked; also RuntimeUnavailableError.
    """
    found = await asyncio.to_thread(living_threads, settings.home)
    if settings.runtime in ("docker", "kubernetes"):
        runtime = _without_self_test(settings)
        try:
            await runtime.open()
            for sandbox in await runtime.list():
                state = await runtime.inspect(sandbox.uid, sandbox.name)
                if sandbox.labels is not None and state == "running":
                    found.append(sandbox.labels.thread)
        finally:
            await runtime.close()
    return sorted(found)


def _without_self_test(settings: Settings) -> Runtime:
    if settings.runtime == "docker":
        from oneseek_sandbox.runtimes.docker.runtime import DockerRuntime

        return DockerRuntime(settings, self_test=False)
    return build_runtime(settings)
