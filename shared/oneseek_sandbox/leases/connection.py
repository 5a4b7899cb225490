"""The way to a Redis server: scripts, retries, and errors in our words.

Every script may be sent again after a lost answer (the store's promise), so a broken connection is
tried anew for about two seconds before anybody hears of it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from oneseek_sandbox.errors import ConfigurationError, SandboxError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio.client import PubSub
    from redis.commands.core import AsyncScript

__all__ = ["RedisConnection"]

_SCRIPTS: Final = Path(__file__).with_name("scripts")
_RETRY_SECONDS: Final = 2.0
_OPEN_SECONDS: Final = 5.0
_SOCKET_SECONDS: Final = 2.0
_REVIVE_PAUSE_SECONDS: Final = 0.25
# A failed-over replica answers READONLY until the new address is known.
_BROKEN: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    OSError,
)


class RedisConnection:
    """A pool of connections to one server.

    Args:
        url: `redis://`, `rediss://` (TLS) or `unix://`.
        revive: Called when the server is away, before the next try; starts it again where that is
            in our hands. At most every 250 ms, and never twice at once.
        name: What the server's list of connections shows; empty asks for none.

    Raises:
        ConfigurationError: The URL is not one.
    """

    def __init__(
        self,
        url: str,
        revive: Callable[[], Awaitable[object]] | None = None,
        *,
        name: str = "",
    ) -> None:
        self._url = url
        self._name = name
        self._where, pool = _pool(url, name=name)
        self._redis = Redis(connection_pool=pool)
        self._revive = revive
        self._revived_at = float("-inf")
        self._reviving = asyncio.Lock()
        shared = (_SCRIPTS / "lease.lua").read_text(encoding="utf-8")
        self._scripts: dict[str, AsyncScript] = {
            path.stem: self._redis.register_script(shared + path.read_text(encoding="utf-8"))
            for path in _SCRIPTS.glob("*.lua")
            if path.stem != "lease"
        }

    async def open(self) -> None:
        """Wait up to 5 s for the server, and refuse one that evicts.

        Raises:
            ConfigurationError: It may drop leases when memory runs short, does not let us find
                out, or refuses our password.
        """
        try:
            await self._persistently(lambda: self._redis.ping(), _OPEN_SECONDS)
            memory = await self._persistently(lambda: self._redis.info("memory"), _RETRY_SECONDS)
        except StoreUnavailableError as error:
            if _is_refusal(error.__cause__):
                raise ConfigurationError(
                    f"Redis at {self._where} refuses the connection ({error.__cause__}). Check user and "
                    "password in PROVISIONER_REDIS_URL, and that they may run INFO."
                ) from error
            raise
        policy = memory.get("maxmemory_policy", "unknown")
        if policy != "noeviction" and memory.get("maxmemory") != 0:
            raise ConfigurationError(
                f"Redis at {self._where} has maxmemory-policy {policy}: it would drop leases when "
                "memory runs short, and their sandboxes would leak. Set maxmemory-policy to "
                "noeviction there, or use another Redis in PROVISIONER_REDIS_URL."
            )

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def run(self, script: str, keys: Sequence[str], args: Sequence[str | int]) -> list[Any]:
        """Run one transition.

        Raises:
            StoreUnavailableError: No answer; it may have taken place all the same.
        """
        call = self._scripts[script]
        answer: list[Any] = await self._persistently(
            lambda: call(keys=keys, args=args, client=self._redis), _RETRY_SECONDS
        )
        return answer

    async def members(self, key: str) -> list[str]:
        """Return the members of a sorted set, lowest score first."""
        members: list[str] = await self._persistently(
            lambda: self._redis.zrange(key, 0, -1), _RETRY_SECONDS
        )
        return members

    async def size(self, key: str) -> int:
        """Return how many members a sorted set has."""
        size: int = await self._persistently(lambda: self._redis.zcard(key), _RETRY_SECONDS)
        return size

    async def fields(self, key: str, names: Sequence[str]) -> list[str | None]:
        """Return fields of a hash, None for those that are not there."""
        fields: list[str | None] = await self._persistently(
            lambda: self._redis.hmget(key, list(names)), _RETRY_SECONDS
        )
        return fields

    async def text(self, key: str) -> str:
        """Return a string; empty when it is not there."""
        text: str | None = await self._persistently(lambda: self._redis.get(key), _RETRY_SECONDS)
        return text or ""

    def pubsub(self) -> PubSub:
        """Return a subscriber with a connection of its own."""
        return self._redis.pubsub()

    async def _persistently(self, call: Callable[[], Awaitable[Any]], seconds: float) -> Any:  # noqa: ANN401
        """Call until there is an answer, for about `seconds`."""
        loop = asyncio.get_running_loop()
        end, pause = loop.time() + seconds, 0.01
        while True:
            try:
                return await call()
            except exceptions.MovedError as error:
                await self._move_to(error.host, error.port)
                if loop.time() + pause >= end:
                    raise self._unavailable(error) from error
            except _BROKEN as error:
                if _is_refusal(error):
                    raise self._unavailable(error) from error
                await self._try_revive()
                if loop.time() + pause >= end:
                    raise self._unavailable(error) from error
            except exceptions.RedisError as error:
                raise self._unavailable(error) from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.25)

    async def _move_to(self, host: str, port: int) -> None:
        """Go to the cluster node that has our keys: they share one slot, so one node has them all."""
        left = self._redis
        self._where, pool = _pool(self._url, name=self._name, host=host, port=port)
        self._redis = Redis(connection_pool=pool)
        await left.connection_pool.disconnect(inuse_connections=False)

    async def _try_revive(self) -> None:
        if self._revive is None:
            return
        async with self._reviving:
            loop = asyncio.get_running_loop()
            if loop.time() - self._revived_at < _REVIVE_PAUSE_SECONDS:
                return
            try:
                await self._revive()
            except SandboxError as error:
                raise StoreUnavailableError(error.message) from error
            finally:
                self._revived_at = loop.time()

    def _unavailable(self, error: Exception) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"The lease store is not available (Redis at {self._where}: {error}). Try again; if this "
            "persists, its operator should check that it is running and has free memory and disk."
        )


def _pool(
    url: str, *, name: str = "", host: str | None = None, port: int | None = None
) -> tuple[str, BlockingConnectionPool]:
    """Return where the server is, without user and password, and a pool for it.

    Args:
        host: Instead of the URL's, with `port`.
    """
    try:
        parts = urlsplit(url)
        where = parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
        if host is not None and port is not None:
            where = f"{host}:{port}"
            # What a URL says goes before keyword arguments, so it must say the node's address.
            login, _, _ = parts.netloc.rpartition("@")
            name = f"[{host}]" if ":" in host else host
            url = parts._replace(
                netloc=f"{login}@{name}:{port}" if login else f"{name}:{port}"
            ).geturl()
        return where, BlockingConnectionPool.from_url(
            url,
            decode_responses=True,
            client_name=name or None,
            max_connections=32,
            timeout=_SOCKET_SECONDS,
            socket_timeout=_SOCKET_SECONDS,
            socket_connect_timeout=_SOCKET_SECONDS,
            # Trying again is done here, where the server can be revived in between.
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        # What urlsplit and redis-py complain of may quote the password: no cause, no text.
        raise ConfigurationError(
            "PROVISIONER_REDIS_URL is not a URL of the form redis://user:password@host:6379/0, "
            "rediss://... or unix:///path; percent-encode special characters in the password."
        ) from None


def _is_refusal(error: BaseException | None) -> bool:
    """Return whether the server answered, and will not have us; redis-py wraps some of that."""
    refusals = (exceptions.AuthenticationError, exceptions.NoPermissionError)
    return isinstance(error, refusals) or (
        error is not None and isinstance(error.__cause__, refusals)
    )
