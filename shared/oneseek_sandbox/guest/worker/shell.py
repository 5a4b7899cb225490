"""How a script is given to a shell, and in which environment."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.job import SCRIPT_FD, Job, candidates, memory_file

if TYPE_CHECKING:
    from oneseek_sandbox.guest.worker.command_spec import CommandSpec
    from oneseek_sandbox.guest.worker.job import Pipes
    from oneseek_sandbox.guest.worker.terminal import Terminal

__all__ = [
    "MAX_SCRIPT_ARGUMENT",
    "PLAIN",
    "RUN_VARIABLE",
    "SCRIPT_VARIABLE",
    "STAYING",
    "command_environment",
    "has_network",
    "make_job",
    "shell_arguments",
]

MAX_SCRIPT_ARGUMENT = 100 * 1024  # Linux refuses one argument above 128 KiB
# Whoever looks for a process by its command line (`pkill -f`) must not find the shell that runs the
# search. The script then stands in the environment, and is gone from there before it begins.
SCRIPT_VARIABLE = b"_sandbox_script"
RUN_VARIABLE = b'set -- "$%b"; unset %b; eval "shift; $1"' % (SCRIPT_VARIABLE, SCRIPT_VARIABLE)
PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,+@% ")
STAYING = frozenset(
    (b"time", b"command", b"builtin", b"eval")
)  # a shell that waits for what follows


def shell_arguments(script: bytes, env: dict[bytes, bytes]) -> list[bytes]:
    """Return the arguments that run a script, and make it ready in `env` where it is not in them.

    It comes from SCRIPT_FD when it is too long for either. One plain command stays an argument: of
    that bash makes no process, but becomes it.
    """
    shell = b"bash" if any(candidates(b"bash", env)) else b"sh"
    if len(script) <= MAX_SCRIPT_ARGUMENT:
        first = script.split(None, 1)[:1]
        if shell == b"bash" and PLAIN.issuperset(script) and not STAYING.issuperset(first):
            return [shell, b"-c", b"--", script]
        env[SCRIPT_VARIABLE] = script
        return [shell, b"-c", b"--", RUN_VARIABLE]
    return [shell, b"/proc/self/fd/%d" % SCRIPT_FD]


def command_environment(workspace: str) -> dict[bytes, bytes]:
    """Return the environment every command starts with."""
    env = {
        b"PATH": b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        b"LANG": b"C.UTF-8",
        b"TMPDIR": b"/tmp",
        # Python takes compiled code for current when second and size agree: an agent that mends
        # a file and runs it at once would run the old one.
        b"PYTHONDONTWRITEBYTECODE": b"1",
        # Nobody else uses this system's Python: what pip installs goes to ~/.local, or a venv.
        b"PIP_BREAK_SYSTEM_PACKAGES": b"1",
    }
    # The cluster's addresses are in the environment of every pod, and no business of commands.
    ours = {
        name: value
        for name, value in os.environb.items()
        if name != b"POD_IP" and not name.startswith(b"KUBERNETES_")
    }
    env = {**env, **ours, b"HOME": os.fsencode(workspace)}
    # Where pip and npm put programs that an agent installs: /usr is not its own.
    env[b"PATH"] = os.fsencode(workspace) + b"/.local/bin:" + env[b"PATH"]
    if not has_network():
        # They would ask again for a minute; what was asked first has said all there is to say.
        env = {b"PIP_RETRIES": b"0", b"npm_config_fetch_retries": b"0", **env}
    return env


def has_network() -> bool:
    """Return whether there is any way out but loopback; a closed one may look open from here."""
    try:
        return any(name != "lo" for _, name in socket.if_nameindex())
    except OSError:
        return True


def make_job(
    spec: CommandSpec,
    pipes: Pipes,
    cwd: int,
    stdin: int,
    env: dict[bytes, bytes],
    fds: list[int],
    terminal: Terminal | None,
) -> Job:
    """Return the job of a command; what it opens for itself is added to `fds`.

    Args:
        stdin: What it reads when the request has no bytes for that.
    """
    path = ""
    if terminal is not None:
        env, path = {**env, b"TERM": terminal.term.encode()}, terminal.path
    env = {**env, **{name.encode(): value.encode() for name, value in spec.env.items()}}
    if spec.stdin:
        stdin = memory_file(spec.stdin)
        fds.append(stdin)
    given = [cwd, pipes.channel, stdin, pipes.stdout_end, pipes.stderr_end]
    if isinstance(spec.command, list):
        return Job([part.encode() for part in spec.command], env, given, path)
    script = spec.command.encode()
    if len(script) > MAX_SCRIPT_ARGUMENT:
        fds.append(memory_file(script))
        given.append(fds[-1])
    return Job(shell_arguments(script, env), env, given, path)
