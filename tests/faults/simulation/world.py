"""Several servers over one store and one runtime, and what callers see of them."""

from __future__ import annotations

import asyncio
import copy
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from tests.faults.history import Recorder
from tests.faults.simulation.network import Network, Proxy, Weather
from tests.faults.simulation.sandboxes import SimulatedRuntime, SimulatedWorkers
from tests.faults.simulation.virtual import Process, VirtualLoop

from oneseek_sandbox import models
from oneseek_sandbox.auth import Caller, TokenKey
from oneseek_sandbox.control.acquisition import Acquisition
from oneseek_sandbox.control.claiming import Claims
from oneseek_sandbox.control.creation import Creator
from oneseek_sandbox.control.judgement import Judge
from oneseek_sandbox.control.pins import Pins
from oneseek_sandbox.control.provisioner import Provisioner
from oneseek_sandbox.errors import RuntimeUnavailableError, SandboxError, StoreUnavailableError
from oneseek_sandbox.leases.store import LeaseTerms
from oneseek_sandbox.settings import Settings
from oneseek_sandbox.testing.memory_lease_store import MemoryLeaseStore

__all__ = ["IDLE_MS", "Server", "World", "determined"]

IDLE_MS: Final = 600_000
_BEGAN_MS: Final = 1_700_000_000_000
_KEY: Final = TokenKey(b"token key of the simulation")
_SETTINGS: Final = Settings.model_validate(
    {"idle_timeout_seconds": IDLE_MS // 1000, "startup_timeout_seconds": 20}
)
_WAIT_SECONDS: Final = 0.5

Request = Callable[[Provisioner, Caller, "Line"], Coroutine[Any, Any, Any]]


class Line:
    """What lies between a caller and the server: an answer goes out before its call is over."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.answer: asyncio.Future[Any] = loop.create_future()

    def send(self, value: object) -> None:
        """Give an answer to the caller.

        Raises:
            ConnectionError: The caller has gone.
        """
        if self.answer.cancelled():
            raise ConnectionError("The caller has gone.")
        self.answer.set_result(value)

    async def serve(self, call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Do what was asked for, and answer what came of it if nothing was sent yet."""
        try:
            value = await call()
        except Exception as error:  # noqa: BLE001 - all of it is the caller's
            if not self.answer.done():
                self.answer.set_exception(error)
        else:
            if not self.answer.done():
                self.answer.set_result(value)


class World:
    """All that outlives a server: the store, the sandboxes, the network, and the record.

    Attributes:
        weather: How calls fare, by what they go to: store, runtime, workers.
    """

    def __init__(self, loop: VirtualLoop, chance: Random, **about: object) -> None:
        self.loop = loop
        self.chance = chance
        self.jumped_ms = self._most_jumped_ms = 0
        self.terms = LeaseTerms(idle_ms=IDLE_MS)
        self.store = MemoryLeaseStore(self.terms, self)
        self.runtime = SimulatedRuntime(
            self.now_ms,
            self.elapsed_ms,
            lambda: chance.randrange(5, 1500),
            in_place=chance.random() < 0.5,
        )
        self.network = Network(loop, chance)
        self.weather = {name: Weather() for name in ("store", "runtime", "workers")}
        self.recorder = Recorder(self.elapsed_ms, idle_ms=IDLE_MS, slack_ms=0, **about)
        self.servers: list[Server] = []
        self.gone: list[Server] = []
        self.background: list[asyncio.Future[None]] = []
        self._earlier: list[tuple[float, Any]] = []

    def elapsed_ms(self) -> float:
        """Return the time since the beginning, on the clock that never jumps."""
        return self.loop.time() * 1000

    def now_ms(self) -> int:
        """Return the wall clock, which jumps."""
        return _BEGAN_MS + int(self.elapsed_ms()) + self.jumped_ms

    def jump_clock(self, by_ms: int) -> None:
        """Set the wall clock."""
        self.jumped_ms += by_ms
        self._most_jumped_ms = max(self._most_jumped_ms, self.jumped_ms)

    @property
    def behind_ms(self) -> int:
        """How far the wall clock is behind what it showed at most."""
        return self._most_jumped_ms - self.jumped_ms

    def start_server(self) -> Server:
        """Start another server."""
        server = Server(self, f"server-{len(self.servers) + len(self.gone)}")
        self.servers.append(server)
        return server

    def replace(self, server: Server) -> None:
        """Kill a server, and start another in its place."""
        self.servers.remove(server)
        self.gone.append(server)
        server.process.kill()
        self.start_server()

    def keep_store(self) -> None:
        """Take a backup of the store."""
        self._earlier.append((self.loop.time(), copy.deepcopy(self.store._book)))

    def empty_store(self) -> None:
        """Let the store forget everything."""
        self.store._book = type(self.store._book)(self.terms)

    def roll_back_store(self) -> int:
        """Put a backup in the store's place; returns how old it is, in milliseconds."""
        at, book = self.chance.choice(self._earlier)
        self.store._book = copy.deepcopy(book)
        return int((self.loop.time() - at) * 1000) + 1

    def close(self) -> None:
        """End every task, also of the dead."""
        self.network.closed = True
        for server in [*self.servers, *self.gone]:
            server.process.resume()
        for _ in range(100):
            tasks = asyncio.all_tasks(self.loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=1))


class Server:
    """One process that serves the verbs."""

    caller = Caller("simulation")

    def __init__(self, world: World, name: str) -> None:
        self.process = Process(name, world.loop)
        self._world = world
        network, weather = world.network, world.weather
        store: Any = Proxy(
            network, weather["store"], world.store, StoreUnavailableError, wait=self._wait
        )
        runtime: Any = Proxy(
            network, weather["runtime"], world.runtime, RuntimeUnavailableError, close=_nothing
        )
        workers: Any = SimulatedWorkers(
            network, weather["workers"], world.runtime, world.recorder.ran
        )
        claims = Claims(runtime, workers, _KEY, startup_seconds=20)
        creator = Creator(store, runtime, claims, creation_ms=world.terms.creation_ms)
        judge = Judge(store, runtime, workers)
        self.provisioner = Provisioner(
            settings=_SETTINGS,
            store=store,
            workers=workers,
            pins=Pins(store),
            clock=world,
            acquisition=Acquisition(store, runtime, creator, judge, patience_seconds=50),
        )

    async def ask(
        self, verb: str, thread: str, request: Request, *, patience: float = 200, **fields: object
    ) -> Answer:
        """Make a call, and record what comes of it.

        Args:
            patience: After so many seconds the caller leaves.
        """
        recorder, loop = self._world.recorder, self._world.loop
        number = recorder.call(verb, thread, **fields)
        line = Line(loop)
        task = loop.create_task(
            line.serve(lambda: request(self.provisioner, self.caller, line)),
            context=self.process.context(),
        )
        await asyncio.wait(
            {line.answer, self.process.died}, timeout=patience, return_when=asyncio.FIRST_COMPLETED
        )
        answer = _answer(line.answer)
        if answer.outcome == "ok":
            recorder.ok(number, **answer.value)
        elif answer.outcome == "error":
            recorder.error(number, **answer.value)
        else:
            recorder.cut(number)
            line.answer.cancel()
            task.cancel()
        return answer

    async def _wait(self, thread: object, timeout_ms: int) -> None:
        """Wait as a store does; it may return early."""
        del thread
        chance = self._world.chance
        await asyncio.sleep(min(timeout_ms / 1000, chance.uniform(0, _WAIT_SECONDS)))


@dataclass(slots=True)
class Answer:
    """What a caller saw."""

    outcome: str
    value: dict[str, Any]


def _answer(sent: asyncio.Future[Any]) -> Answer:
    if not sent.done():
        return Answer("cut", {})
    try:
        value = sent.result()
    except SandboxError as error:
        return Answer("error", {"code": error.code, "may_have_run": error.may_have_run})
    except Exception:
        logging.getLogger(__name__).exception("nobody meant this")
        return Answer("error", {"code": "internal", "may_have_run": None})
    if isinstance(value, models.AcquireAnswer):
        kept = {"sandbox_id", "generation", "reused", "restarted"}
        return Answer("ok", value.model_dump(include=kept))
    return Answer("ok", value.model_dump(include={"content", "released", "already_released"}))


async def _nothing() -> None:
    """A runtime outlives a server's connection to it."""


async def last(events: AsyncIterator[Any]) -> Any:
    """Return what an execute ends with."""
    ended = None
    async for event in events:
        ended = event
    return ended


@contextmanager
def determined(chance: Random) -> Iterator[None]:
    """Draw every random name from one seed, and keep the log quiet."""
    token_hex = secrets.token_hex
    disabled = logging.root.manager.disable
    secrets.token_hex = lambda size=16: chance.randbytes(size or 16).hex()
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        secrets.token_hex = token_hex
        logging.disable(disabled)
