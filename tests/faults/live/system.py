"""A system under test: its servers on one home, its store, and the relays between its parts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from pathlib import Path

from tests.faults.live.homes import FolderHome, LoopHome
from tests.faults.live.outside import RunLog, processes_of, seen_sandboxes, signal_all
from tests.faults.live.parts import KEY, Part, functions, gateways
from tests.faults.live.relay import Relay
from tests.faults.live.schedule import Schedule

from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.leases.embedded_files import ServerFiles
from oneseek_sandbox.runtimes.local import host

__all__ = ["System"]

_LOOK_SECONDS = 0.02
_ONCE = ("execute", "acquire", "release", "write_file", "replace", "ls", "read_file")


class System:
    """Starts, watches, breaks and ends all the processes of one schedule.

    Args:
        folder: Gets the home, the logs, the image of a disk.
        planted: The name of a defect that the gateways work with.

    Attributes:
        fronts: Before each server: client calls go through here.
        store: Before the embedded store.
        workers: Before each worker, by its sandbox's name; only where the schedule breaks those.
    """

    def __init__(self, schedule: Schedule, folder: Path, planted: str = "") -> None:
        self.schedule = schedule
        self.disk = FolderHome(folder) if schedule.home == "folder" else LoopHome(folder)
        self.home = self.disk.path
        environment = {
            "PROVISIONER_HOME": str(self.home),
            "PROVISIONER_API_KEY": KEY,
            "PROVISIONER_SWEEP_INTERVAL_SECONDS": "1",
            "PROVISIONER_CLEANUP_INTERVAL_SECONDS": "1",
            "PROVISIONER_STARTUP_TIMEOUT_SECONDS": "15",
            "PROVISIONER_MIN_FREE_DISK_MB": "1",
            "PROVISIONER_SHUTDOWN_GRACE_SECONDS": "5",
        }
        if schedule.store == "file":
            environment["PROVISIONER_STATE_STORE"] = "file"
        if planted:
            environment["FAULTS_PLANTED"] = planted
        make = functions if schedule.form == "functions" else gateways
        self.by_verb = make(folder, environment)
        self.parts: list[Part] = list(dict.fromkeys(p for ps in self.by_verb.values() for p in ps))
        self.fronts: dict[str, Relay] = {}
        self.ports: dict[str, int] = {}
        self.workers: dict[str, Relay] = {}
        self.log = RunLog(self.home)
        self.repeated: list[bytes] = []
        self._short = Path(tempfile.mkdtemp(prefix="faults-"))  # socket paths end at 107 bytes
        self._store_socket = self._short / "store.sock"
        self._real_store = ""
        self.store = Relay(
            lambda: asyncio.open_unix_connection(self._real_store), lambda p: b"EVALSHA" in p[:40]
        )
        self._relays_workers = any(
            step.kind in ("worker_delayed", "worker_cut") for step in schedule.steps
        )
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start everything and wait until all servers answer."""
        await asyncio.to_thread(self.disk.make)
        if self.schedule.store == "valkey":
            await asyncio.to_thread(EmbeddedServer.ensure, self.home)
            await self.store.listen_unix(str(self._store_socket))
            self.lead_to_relay()
        for part in self.parts:
            relay = Relay(
                lambda port=part.port: asyncio.open_connection("127.0.0.1", port),
                _may_repeat,
                self.repeated.append,
            )
            self.fronts[part.name] = relay
            self.ports[part.name] = await relay.listen_tcp()
        await self.start_parts()
        self._watching = asyncio.create_task(self._watch())

    async def start_parts(self) -> None:
        """Start the servers that do not run, and wait."""
        for part in self.parts:
            part.launch()
        await asyncio.gather(*(asyncio.to_thread(part.wait_ready) for part in self.parts))

    async def _watch(self) -> None:
        while True:
            self.log.look()
            if self._relays_workers:
                for sandbox in seen_sandboxes(self.home):
                    if sandbox.name not in self.workers:
                        await self._relay_worker(sandbox.name)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _relay_worker(self, name: str) -> None:
        """Put a relay in the place of a worker's socket; gateways do not see the difference."""
        path = host.socket_folder(self.home.absolute()) / f"{name}.sock"
        aside = path.with_suffix(".real")
        relay = Relay(lambda: asyncio.open_unix_connection(str(aside)))
        with contextlib.suppress(OSError):
            path.rename(aside)
            self.workers[name] = relay
            await relay.listen_unix(str(path))

    def address(self, verb: str, choice: int) -> str:
        """Return the base URL of the relay before one of a verb's servers."""
        servers = self.by_verb[verb]
        return f"http://127.0.0.1:{self.ports[servers[choice % len(servers)].name]}"

    # The store

    def lead_to_relay(self) -> None:
        """Let servers that connect from now on reach the store through the relay."""
        address = self.home / "redis" / "address"
        with contextlib.suppress(OSError):
            found = address.read_text("utf-8")
            if found != str(self._store_socket):
                self._real_store = found
                draft = address.with_suffix(".relay")
                draft.write_text(str(self._store_socket), "utf-8")
                draft.replace(address)

    def _lead_to_store(self) -> None:
        self.lead_to_relay()
        with contextlib.suppress(OSError):
            (self.home / "redis" / "address").write_text(self._real_store, "utf-8")

    def store_process(self) -> int | None:
        """Return the process id of the embedded store."""
        return ServerFiles(self.home).process_id() if self.schedule.store == "valkey" else None

    # The end

    def stand_still(self) -> list[int]:
        """Stop every process of the system, as a power cut does; return them all."""
        pids = [p.process.pid for p in self.parts if p.process and p.process.poll() is None]
        pids += [pid for pid in [self.store_process()] if pid]
        signal_all(pids, signal.SIGSTOP)
        for sandbox in seen_sandboxes(self.home):
            inside = processes_of(sandbox)
            pids += inside + [pid for pid in [sandbox.monitor] if pid]
        signal_all(pids, signal.SIGSTOP)
        return pids

    async def lose_power(self) -> None:
        """End all processes at one moment, and go on with what had reached the disk."""
        assert isinstance(self.disk, LoopHome)
        if self._watching is not None:
            self._watching.cancel()
        stopped = self.stand_still()
        await asyncio.to_thread(self.disk.lose_power)
        signal_all(stopped, signal.SIGKILL)
        for part in self.parts:
            part.kill()
        self.log.close()
        self._sweep_run()
        await asyncio.to_thread(self.disk.come_back)
        self.log = RunLog(self.home)
        (self.home / "redis" / "address").unlink(missing_ok=True)
        if self.schedule.store == "valkey":
            await asyncio.to_thread(EmbeddedServer.ensure, self.home)
            self.lead_to_relay()
        await self.start_parts()
        self._watching = asyncio.create_task(self._watch())

    def _sweep_run(self) -> None:
        """Remove what a new start of a machine does: control groups, and what lies in /run."""
        for sandbox in self.log.seen.values():
            for group in map(Path, sandbox.groups):
                _remove_group(group)
        for path in host.socket_folder(self.home.absolute()).glob("*"):
            path.unlink(missing_ok=True)

    async def heal(self) -> None:
        """Break nothing any more, and start what is down."""
        self.pass_all()
        if isinstance(self.disk, LoopHome):
            self.disk.free()
        for part in self.parts:
            part.pause(False)
        await self.start_parts()

    def pass_all(self) -> None:
        """Let all relays pass everything."""
        for relay in [*self.fronts.values(), *self.workers.values(), self.store]:
            relay.pass_all()

    async def stop(self) -> dict[str, int | None]:
        """Stop the servers in order; return the exit statuses that are none of an orderly end."""
        statuses = await asyncio.gather(*(asyncio.to_thread(part.stop) for part in self.parts))
        if self._watching is not None:
            self._watching.cancel()
        # Uvicorn's own program raises the signal that stopped it once more; a gateway does not.
        orderly = (0, -signal.SIGTERM) if self.schedule.form == "functions" else (0,)
        return {p.name: s for p, s in zip(self.parts, statuses, strict=True) if s not in orderly}

    async def remove(self) -> None:
        """End whatever is left, and remove all files; nothing is promised any more."""
        if self._watching is not None:
            self._watching.cancel()
        for part in self.parts:
            part.remove()
        for sandbox in [*self.log.seen.values(), *seen_sandboxes(self.home)]:
            signal_all(processes_of(sandbox), signal.SIGKILL)
        self.log.kill_left()
        if self.schedule.store == "valkey":
            pid = self.store_process()
            if pid:
                os.kill(pid, signal.SIGCONT)
            self._lead_to_store()
            with contextlib.suppress(Exception):
                await asyncio.to_thread(EmbeddedServer.stop, self.home)
        for relay in [*self.fronts.values(), *self.workers.values(), self.store]:
            await relay.close()
        self._sweep_run()
        self.log.close()
        await asyncio.to_thread(self.disk.remove)
        for path in self._short.iterdir():
            path.unlink(missing_ok=True)
        self._short.rmdir()


def _remove_group(group: Path) -> None:
    for inner in sorted(group.rglob("*"), reverse=True):
        if inner.is_dir():
            with contextlib.suppress(OSError):
                inner.rmdir()
    with contextlib.suppress(OSError):
        group.rmdir()


def _may_repeat(piece: bytes) -> bool:
    """Return whether a piece is a whole call that may be made twice by whoever makes it."""
    head, separator, body = piece.partition(b"\r\n\r\n")
    verb = head.split(b" ", 2)[1].rpartition(b"/")[2].decode() if head.count(b" ") > 1 else ""
    if not separator or not head.startswith(b"POST ") or verb not in _ONCE:
        return False
    try:
        fields = json.loads(body)
    except ValueError:
        return False  # not all of it came in one piece
    # An append, or a command without an id, is done as often as it is asked for.
    return not fields.get("append") and (verb != "execute" or "request_id" in fields)
