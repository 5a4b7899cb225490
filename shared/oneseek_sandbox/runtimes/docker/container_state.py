"""What a container's state means for its sandbox, and why one does not run, in words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.errors import CapacityError, SandboxError, SandboxStartError

if TYPE_CHECKING:
    from oneseek_sandbox.runtimes.docker.engine import EngineRefusalError, Resource
    from oneseek_sandbox.settings import Settings

__all__ = ["address_of", "is_running", "reason", "start_refusal", "why"]

_ALIVE: Final = ("running", "paused")
_NO_ROOM: Final = re.compile(
    r"no space left|disk quota exceeded|cannot allocate memory|port is already allocated"
    r"|address pool|fully subnetted|could not find free subnet|no free private network",
    re.IGNORECASE,
)


def is_running(container: Resource | None) -> bool:
    """Return whether a container, as listed or as inspected, has processes."""
    if container is None:
        return False
    state = container["State"]
    return (state["Status"] if isinstance(state, dict) else state) in _ALIVE


def address_of(listener: Resource | None) -> str:
    """Return the address that the port of a listed listener container is published on; empty while it has none."""
    for port in (listener or {}).get("Ports") or []:
        if port.get("PublicPort"):
            return f"tcp:127.0.0.1:{port['PublicPort']}"
    return ""


def start_refusal(error: EngineRefusalError, settings: Settings) -> SandboxError:
    """Return the error for a sandbox that the engine did not create or start."""
    if _NO_ROOM.search(error.message):
        return CapacityError(
            f"The Docker engine has no room for another sandbox: {_sentence(error.message)} Try "
            "again when others have ended."
        )
    return SandboxStartError(f"A sandbox could not be started. {why(error.message, settings)}")


def why(message: str, settings: Settings) -> str:
    """Say in a sentence what the engine's refusal means."""
    if "python3" in message and re.search("not found|no such file", message, re.IGNORECASE):
        return (
            f"The image {settings.sandbox_image!r} has no python3 on its PATH, which the sandbox's "
            "worker needs (3.9 or newer). Use another PROVISIONER_SANDBOX_IMAGE."
        )
    return f"The Docker engine refuses: {_sentence(message)}"


def reason(container: Resource, log: str, settings: Settings) -> str:
    """Say in a sentence why an inspected container does not run; empty when it does."""
    if is_running(container):
        return ""
    state = container["State"]
    if state.get("OOMKilled"):
        return (
            f"It was ended because it used more memory than its limit of "
            f"{settings.memory_limit_mb} MB (PROVISIONER_MEMORY_LIMIT_MB)."
        )
    if state.get("Error"):
        return why(str(state["Error"]), settings)
    if state["Status"] in ("created", "configured"):
        return "It was created and not started."
    ended = f"It ended with code {state.get('ExitCode')}"
    return f"{ended}. Last words: {_sentence(log)}" if log else f"{ended}."


def _sentence(text: str) -> str:
    text = text.strip()[:500]
    return text if text.endswith(".") or not text else text + "."
