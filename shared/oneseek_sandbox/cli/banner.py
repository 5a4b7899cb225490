"""What `serve` prints when it listens, and what it leaves behind when it stops."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from oneseek_sandbox import __version__
from oneseek_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from oneseek_sandbox.settings import Settings

__all__ = ["banner", "farewell", "own_command"]

_FILES: Final = {
    "local": "of sandboxes, in sandboxes/ of the state folder",
    "docker": "of sandboxes, in volumes of the Docker engine",
    "kubernetes": "of sandboxes, in their pods",
}


def banner(settings: Settings, url: str) -> str:
    """Return what is printed when the server listens; its last line is a curl command."""
    has_key = bool(settings.api_key.get_secret_value() or settings.api_keys_file)
    user = "user id, " if os.geteuid() == 0 and settings.runtime != "docker" else ""
    network = "no network" if settings.network == "off" else "a network of its own"
    doctor = own_command("doctor")
    lines = [
        f"oneseek-sandbox {__version__} listening on {url}",
        f"  sandboxes  each with its own {user}processes and files, and {network}",
        f"  isolation  tested just now; {doctor} shows each point",
        *(f"  limits     {line}" for line in _limits(settings, doctor)),
        f"  state      {settings.home}",
        f"  files      {_FILES.get(settings.runtime, _FILES['local'])}",
        f"  leases     {_store(settings)}",
        f"  key        {'needed' if has_key else _without_key(settings)}",
        "  Ctrl-C     stops this server only: sandboxes keep running until they are idle for their",
        f"             timeout ({settings.idle_timeout_seconds} s by default){_valkey_stays(settings)}",
        "",
        "Try it:",
        "  " + _curl(url, has_key=has_key),
    ]
    return "\n".join(lines)


def farewell(settings: Settings) -> str:
    """Return what is printed when the server stopped: what goes on without it."""
    text = "Stopped."
    if settings.runtime in ("auto", "local"):
        text += f" {_still_alive(settings)}"
    if _has_valkey(settings):
        text += (
            " The embedded Valkey server keeps running. To end it, once no sandbox is alive: "
            f"{_stop_command(settings)}"
        )
    return text


def own_command(verb: str) -> str:
    """Return how a subcommand of this program is called in this folder, for a shell."""
    if shutil.which("oneseek-sandbox"):
        return f"oneseek-sandbox {verb}"
    beside = Path(sys.executable).with_name("oneseek-sandbox")
    if not beside.exists():
        return f"{shlex.quote(sys.executable)} -m oneseek_sandbox.cli {verb}"
    here = Path.cwd()
    name = beside.relative_to(here) if beside.is_relative_to(here) else beside
    return f"{shlex.quote(str(name))} {verb}"


def _still_alive(settings: Settings) -> str:
    from oneseek_sandbox.runtimes.local.living import living_threads

    try:
        count = len(living_threads(settings.home))
    except SandboxError:
        return "Sandboxes keep running until they idle out."
    if not count:
        return "No sandbox is alive."
    return f"{count} sandbox{'es keep' if count > 1 else ' keeps'} running until idle."


def _limits(settings: Settings, doctor: str) -> list[str]:
    """Say what one sandbox may use, and which of it this user cannot limit on this machine."""
    if settings.runtime == "kubernetes":
        return []
    disk = f" and {settings.disk_limit_mb} MiB of disk" if settings.disk_limit_mb else ""
    cpus = f", {settings.cpu_limit:g} CPUs" if settings.cpu_limit else ""
    lines = [
        f"per sandbox {settings.memory_limit_mb} MiB of memory{cpus}, {settings.process_limit} "
        f"processes{disk}"
    ]
    if settings.runtime != "docker":
        from oneseek_sandbox.runtimes.local.limits import missing_limits

        if missing := missing_limits(settings):
            lines.append(f"not enforced here: {', '.join(missing)}; {doctor} says what to do")
    return lines


def _has_valkey(settings: Settings) -> bool:
    return settings.state_store != "file" and not settings.redis_url.get_secret_value()


def _valkey_stays(settings: Settings) -> str:
    if not _has_valkey(settings):
        return ""
    return (
        ", and so does Valkey\n"
        f"             (to end that, once no sandbox is alive: {_stop_command(settings)})"
    )


def _stop_command(settings: Settings) -> str:
    """Return the command with the settings that it needs to find the same server."""
    from oneseek_sandbox.settings import Settings

    usual = Settings()
    words = []
    if settings.home != usual.home:
        words.append(f"PROVISIONER_HOME={shlex.quote(str(settings.home))}")
    if settings.runtime in ("docker", "kubernetes"):
        words.append(f"PROVISIONER_RUNTIME={settings.runtime}")
    return " ".join([*words, own_command("stop")])


def _store(settings: Settings) -> str:
    if settings.state_store == "file":
        return "a file, leases/book in the state folder, for this machine only"
    address = settings.redis_url.get_secret_value()
    if not address:
        return "an embedded Valkey server, which keeps them in redis/ of the state folder"
    # The address may hold a password.
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"


def _without_key(settings: Settings) -> str:
    if settings.allow_no_key:
        return "none, as PROVISIONER_ALLOW_NO_KEY allows: whoever reaches this port may use it"
    return "none (loopback only); set PROVISIONER_API_KEY to require one"


def _curl(url: str, *, has_key: bool) -> str:
    arguments = [f"{url}/v1/sandbox/acquire", "-H", "Content-Type: application/json"]
    line = "curl -sS " + shlex.join(arguments)
    if has_key:
        # The key itself is never printed; a shell without it says so by itself.
        line += ' -H "Authorization: Bearer ${PROVISIONER_API_KEY:?set it to your key}"'
    return line + " -d " + shlex.quote('{"thread_id": "demo"}')
