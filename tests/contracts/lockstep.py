"""Stores that are driven with the same calls at the same time, and must answer the same.

The real scripts in the real server, the book in a file that two processes use by turns, and the
book in memory. Time is the test's for all of them: the server's scripts are given a clock of the
test in place of TIME, in the text that is sent. The files in the package know nothing of that.
"""

from __future__ import annotations

import copy
import dataclasses
import secrets
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from tests.contracts.lease_history import View

from oneseek_sandbox.errors import SandboxError
from oneseek_sandbox.leases import redis as redis_module
from oneseek_sandbox.leases.book import LeaseBook
from oneseek_sandbox.leases.file import FileLeaseStore
from oneseek_sandbox.leases.redis import RedisLeaseStore
from oneseek_sandbox.leases.store import Lease, LeaseTerms
from oneseek_sandbox.testing.memory_lease_store import MemoryLeaseStore

__all__ = ["Lockstep", "MemoryAlone"]

_SCRIPTS: Final = Path(redis_module.__file__).with_name("scripts")
_TIME: Final = "redis.call('TIME')"
_CLOCK: Final = "redis.call('HMGET', STEM .. 'clock', 'seconds', 'microseconds')"


class Lockstep:
    """Three stores and one clock."""

    def __init__(self, redis_url: str, home: Path, terms: LeaseTerms) -> None:
        self.terms = terms
        self.time_ms = 1_700_000_000_000
        self._url = redis_url
        self._home = home
        self._sandboxes = 0

    def now_ms(self) -> int:
        """Return the time of all stores."""
        return self.time_ms

    async def open(self) -> None:
        """Make the stores."""
        self._prefix = f"model-{secrets.token_hex(6)}"
        self._memory = MemoryLeaseStore(self.terms, self)
        self._files = [FileLeaseStore(self._home, self.terms, self) for _ in range(2)]
        self._in_redis = RedisLeaseStore(self._url, self.terms, self._prefix)
        self._redis = Redis.from_url(self._url)
        self._stem = self._in_redis._keys.stem
        _give_clock(self._in_redis)
        for store in self._files:
            await store.open()
        await self._in_redis.open()
        self._kept = [await self._state()]

    async def close(self) -> None:
        """Let go of everything."""
        for store in self._files:
            await store.close()
        await self._in_redis.close()
        await self._redis.delete(*await self._keys(), f"{self._stem}clock")
        await self._redis.aclose()

    async def call(self, method: str, *args: Any, times: int = 1, **fields: Any) -> Any:
        """Make a call of each store; returns its answer, or the error that it raised.

        Args:
            times: An answer that is lost is asked for again; the last one counts.
        """
        seconds, rest_ms = divmod(self.time_ms, 1000)
        clock = {"seconds": seconds, "microseconds": 1000 * rest_ms}
        await self._redis.hset(f"{self._stem}clock", mapping=clock)
        self._files.reverse()
        answers = []
        for store in (self._memory, self._files[0], self._in_redis):
            with self._same_names():
                for _ in range(times):
                    answer = await _answer(store, method, *args, **fields)
            answers.append(answer)
        self._sandboxes += times
        shown = [_comparable(answer) for answer in answers]
        assert shown[0] == shown[1] == shown[2], (method, args, fields, *shown)
        return answers[0]

    async def view(self) -> View:
        """Return what all stores show."""
        leases = {lease.thread: lease for lease in await self.call("leases")}
        doomed = {entry.uid: entry for entry in await self.call("doomed", 1000)}
        return View(leases, doomed)

    async def keep(self) -> None:
        """Take a backup."""
        self._kept.append(await self._state())

    async def go_back(self, number: int) -> None:
        """Put a backup in the place of what is; the first is of empty stores."""
        book, content, dumped = self._kept[number % len(self._kept)]
        self._memory._book = copy.deepcopy(book)
        path = self._home / "leases" / "book"
        path.unlink(missing_ok=True)
        if content is not None:
            path.touch(mode=0o600)
            path.write_bytes(content)
        if keys := await self._keys():
            await self._redis.delete(*keys)
        for key, value in dumped.items():
            await self._redis.restore(key, 0, value)

    async def _state(self) -> tuple[LeaseBook, bytes | None, dict[bytes, bytes]]:
        path = self._home / "leases" / "book"
        keys = await self._keys()
        dumped = {key: await self._redis.dump(key) for key in keys}
        content = path.read_bytes() if path.exists() else None
        return copy.deepcopy(self._memory._book), content, dumped

    async def _keys(self) -> list[bytes]:
        found = [key async for key in self._redis.scan_iter(f"*{self._prefix}*", count=1000)]
        return [key for key in found if not key.endswith(b"clock")]

    def _same_names(self) -> _SameNames:
        return _SameNames(self._sandboxes)


class MemoryAlone(Lockstep):
    """The store in memory by itself, for faults that are planted in the book."""

    async def open(self) -> None:
        """Make the store."""
        self._memory = MemoryLeaseStore(self.terms, self)
        self._kept = [copy.deepcopy(self._memory._book)]

    async def close(self) -> None:
        """Nothing to let go of."""

    async def call(self, method: str, *args: Any, times: int = 1, **fields: Any) -> Any:
        """Make a call; returns its last answer, or the error that it raised."""
        with self._same_names():
            for _ in range(times):
                answer = await _answer(self._memory, method, *args, **fields)
        self._sandboxes += times
        return answer

    async def keep(self) -> None:
        """Take a backup."""
        self._kept.append(copy.deepcopy(self._memory._book))

    async def go_back(self, number: int) -> None:
        """Put a backup in the place of what is."""
        self._memory._book = copy.deepcopy(self._kept[number % len(self._kept)])


class _SameNames:
    """Lets every store draw the same random names."""

    def __init__(self, first: int) -> None:
        self._next = first

    def __enter__(self) -> None:
        self._token_hex = secrets.token_hex
        secrets.token_hex = self._name

    def __exit__(self, *_: object) -> None:
        secrets.token_hex = self._token_hex

    def _name(self, size: int | None = None) -> str:
        self._next += 1
        return f"{self._next:0{2 * (size or 32)}x}"


def _give_clock(store: RedisLeaseStore) -> None:
    connection = store._connection
    shared = (_SCRIPTS / "lease.lua").read_text("utf-8")
    assert shared.count(_TIME) == 1
    for name in connection._scripts:
        own = (_SCRIPTS / f"{name}.lua").read_text("utf-8")
        text = shared.replace(_TIME, _CLOCK) + own
        connection._scripts[name] = connection._redis.register_script(text)


async def _answer(store: Any, method: str, *args: Any, **fields: Any) -> Any:
    try:
        return await getattr(store, method)(*args, **fields)
    except SandboxError as error:
        return error


def _comparable(answer: Any) -> Any:
    if isinstance(answer, SandboxError):
        return type(answer), answer.message, answer.may_have_run
    if isinstance(answer, list):
        return sorted(map(_comparable, answer), key=repr)
    if dataclasses.is_dataclass(answer) and not isinstance(answer, Lease):
        parts = {field.name: getattr(answer, field.name) for field in dataclasses.fields(answer)}
        return type(answer), {name: _comparable(part) for name, part in parts.items()}
    return answer
