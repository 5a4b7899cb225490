"""Starts the processes of a sandbox: gathers what its plan needs and hands it to `launch.py`."""

from __future__ import annotations

import contextlib
import marshal
import os
import platform
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.errors import SandboxStartError
from oneseek_sandbox.runtimes import routes
from oneseek_sandbox.runtimes.local import cgroups, host, liveness, network, processes, shares
from oneseek_sandbox.runtimes.local.bwrap_command import (
    MEMORY_EVENTS,
    WORKER,
    Plan,
    Variant,
    bwrap_command,
    identity_files,
    resolver_file,
)
from oneseek_sandbox.runtimes.local.bwrap_program import parts_to_stage, staged_program
from oneseek_sandbox.runtimes.local.compilation import compiled
from oneseek_sandbox.runtimes.local.first_process import limit_processes, put_first
from oneseek_sandbox.runtimes.local.seccomp import seccomp_program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oneseek_sandbox.settings import Settings

__all__ = ["Place", "Program", "Starter"]

_LAUNCH: Final = Path(__file__).with_name("launch.py")
_STAGE: Final = "/tmp"  # noqa: S108 - see launch.py
_LIMITS: Final = {
    "RLIMIT_CORE": 0,
    "RLIMIT_NOFILE": 65_536,
    "RLIMIT_FSIZE": 64 * 1024**3,
    "RLIMIT_MEMLOCK": 8 * 1024**2,
    "RLIMIT_MSGQUEUE": 819_200,
}


@dataclass(frozen=True, slots=True)
class Program:
    """What runs as PID 1: a Python program, its name, arguments and standard output."""

    name: str
    source: bytes
    arguments: tuple[str, ...] = ()
    output: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of a sandbox and the private user it runs as, if any."""

    name: str
    folder: Path
    host_user: int | None


class Starter:
    """Knows this machine and starts sandboxes on it.

    Args:
        bwrap: The bubblewrap program.
        variant: How much of the full profile this machine allows.
        programs: Where compiled programs are kept.
    """

    def __init__(self, settings: Settings, bwrap: str, variant: Variant, *, programs: Path) -> None:
        self.bwrap = bwrap
        self.variant: Variant = variant
        self._settings = settings
        self._programs = programs
        self._layout = host.find_layout()
        self._interpreter = host.find_interpreter()
        self._seccomp = seccomp_program(platform.machine())
        self._staging = os.geteuid() == 0 and host.can_mount()
        if os.geteuid() == 0 and not self._staging:
            prefix = self._interpreter.prefix
            python = [Path(prefix) / "bin"] if prefix else []
            host.require_passable([programs / "worker", Path(bwrap), *python])
        self._network: list[str] | None = None
        if settings.network == "on":
            pasta = network.find_pasta()
            self._network = network.pasta_command(pasta, network.known_options(pasta))
        self.parents = shares.gather(cgroups.find_parents())
        self.limits = cgroups.Limits(
            memory_bytes=settings.memory_limit_mb * 1024**2,
            processes=settings.process_limit,
            cpus=settings.cpu_limit,
        )

    @property
    def controllers(self) -> frozenset[str]:
        """Return what control groups can limit here."""
        return frozenset().union(*(parent.controllers for parent in self.parents))

    def groups(self, name: str) -> tuple[Path, ...]:
        """Return the control groups that a sandbox of this name would get."""
        return tuple(parent.path / f"oneseek-{name}" for parent in self.parents)

    def listen(self, path: Path) -> socket.socket:
        """Make the socket that a worker will inherit; only this user can connect to it."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        while True:
            host.make_private(path.parent)
            path.unlink(missing_ok=True)
            # Another server that closes removes the folder when it is empty.
            with contextlib.suppress(FileNotFoundError):
                listener.bind(str(path))
                break
        path.chmod(0o600)
        listener.listen(512)
        return listener

    def start(self, place: Place, program: Program, inherited: Sequence[int] = ()) -> int:
        """Start a sandbox and return the process id of its PID 1 on this machine.

        Raises:
            SandboxStartError: It did not come up; its processes are gone, its folder is not.
        """
        interpreter = self._interpreter.path
        source = compiled(program.name, program.source, interpreter, self._programs)
        groups = self._create_groups(place)
        with contextlib.ExitStack() as stack:
            status = _closing(stack, liveness.create_status(place.folder / "status"))
            log = _closing(stack, _open_log(place.folder / "start.log"))
            data = {
                path: _closing(stack, _memory_file(text.encode()))
                for path, text in self._files().items()
            }
            seccomp = _closing(stack, _memory_file(self._seccomp))
            payload = (interpreter, "-I", "-S", "-E", WORKER, *program.arguments)
            plan = self._plan(place, source, payload, groups, data, seccomp, status)
            job = self._job(place, plan, groups, source, status)
            job_file = _closing(stack, _memory_file(marshal.dumps(job)))
            descriptors = [status, seccomp, *data.values(), *inherited]
            _run_launcher(job_file, log, program.output, descriptors)
        return self._wait_until_up(place)

    def _files(self) -> dict[str, str]:
        files = identity_files(self._settings.workspace_dir)
        return files | resolver_file(network.RESOLVER) if self._network else files

    def _network_job(self) -> dict[str, Any] | None:
        if self._network is None:
            return None
        closed = [*routes.CLOSED_RANGES, *routes.own_addresses()]
        return {"command": self._network, "routes": routes.close_routes(closed)}

    def _create_groups(self, place: Place) -> list[Path]:
        try:
            return cgroups.create_groups(self.parents, place.name, self.limits)
        except OSError as error:
            raise SandboxStartError(
                f"The sandbox's control group cannot be made: {error}"
            ) from error

    def _plan(
        self,
        place: Place,
        source: Path,
        payload: tuple[str, ...],
        groups: list[Path],
        data: dict[str, int],
        seccomp: int,
        status: int,
    ) -> Plan:
        prefix = self._interpreter.prefix
        events = cgroups.memory_events(groups)
        staged = self._staging
        return Plan(
            bwrap=staged_program(self.bwrap, _STAGE) if staged else self.bwrap,
            variant=self.variant,
            layout=self._layout,
            workspace=f"{_STAGE}/workspace" if staged else str(place.folder / "workspace"),
            workspace_dir=self._settings.workspace_dir,
            worker=f"{_STAGE}/worker" if staged else str(source),
            python_prefix=(f"{_STAGE}/python" if staged else prefix, prefix) if prefix else None,
            payload=payload,
            data=tuple(data.items()),
            seccomp_fd=seccomp,
            status_fd=status,
            tmp_bytes=self._settings.tmp_limit_mb * 1024**2,
            memory_events=str(events) if events else None,
            network=self._network is not None,
        )

    def worker_arguments(self, listener: int) -> tuple[str, ...]:
        """Return the arguments of the worker that serves on the inherited `listener`."""
        events = ("--memory-events", MEMORY_EVENTS) if self._has_memory_limit() else ()
        settings = self._settings
        where = ("--listen-fd", str(listener), "--workspace", settings.workspace_dir)
        commands = ("--max-commands", str(settings.max_commands), *settings.disk_options)
        processes = ("--max-processes", str(settings.process_limit))
        scope = settings.scope_options(WORKER, MEMORY_EVENTS)
        return (*where, *commands, *processes, *events, *scope, "--unclaimed-exit")

    def _has_memory_limit(self) -> bool:
        return "memory" in self.controllers

    def _job(
        self, place: Place, plan: Plan, groups: list[Path], source: Path, status: int
    ) -> dict[str, Any]:
        stage: dict[str, str] = {}
        if self._staging:
            stage = {
                "workspace": str(place.folder / "workspace"),
                "worker": str(source),
                **parts_to_stage(self.bwrap),
            }
            if self._interpreter.prefix:
                stage["python"] = self._interpreter.prefix
        limits = dict(_LIMITS)
        if place.host_user is not None:
            limits["RLIMIT_NPROC"] = self._settings.process_limit
        if not self._has_memory_limit():
            # Of each process, not of the sandbox; unlike RLIMIT_AS it spares what only reserves.
            limits["RLIMIT_DATA"] = self._settings.memory_limit_mb * 1024**2
        return {
            "command": bwrap_command(plan),
            "cgroup_files": [str(group / "cgroup.procs") for group in groups],
            "limits": limits,
            "stage": stage,
            "user": place.host_user,
            "status_fd": status,
            "network": self._network_job(),
        }

    def _wait_until_up(self, place: Place) -> int:
        status = place.folder / "status"
        deadline = time.monotonic() + self._settings.startup_timeout_seconds
        while time.monotonic() < deadline:
            pid = liveness.first_process(status)
            # bubblewrap's child keeps its name until it has set everything up and becomes Python.
            if pid and processes.command_name(pid) not in (None, Path(self.bwrap).name):
                limit_processes(pid, self._settings.process_limit)
                put_first(pid, grouped="cpu" in self.controllers)
                return pid
            if not liveness.is_alive(status):
                break
            time.sleep(0.001)
        raise SandboxStartError(
            f"A sandbox did not start: {liveness.log_tail(place.folder) or 'nothing was reported'}."
            " Run `oneseek-sandbox doctor` to see what is missing on this machine."
        )


def _closing(stack: contextlib.ExitStack, descriptor: int) -> int:
    stack.callback(os.close, descriptor)
    return descriptor


def _memory_file(content: bytes) -> int:
    descriptor = os.memfd_create("oneseek-sandbox")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _open_log(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def _run_launcher(job: int, log: int, output: int | None, descriptors: list[int]) -> None:
    subprocess.run(
        [sys.executable, "-I", "-S", "-E", str(_LAUNCH)],
        stdin=job,
        stdout=subprocess.DEVNULL if output is None else output,
        stderr=log,
        pass_fds=descriptors,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        cwd="/",
        start_new_session=True,
        check=True,
    )
