"""The runtime's promises as a test class, for every implementation.

Inherit `RuntimeContract` and override the fixtures `runtime` (opened, empty) and `other_server` (a
second one over the same sandboxes), and the method `kill` (end a sandbox behind the runtime's back).
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import pytest

from oneseek_sandbox.errors import CreationLostError, LeaseError, SandboxLostError
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.runtime import Labels, Runtime, SandboxObject
from oneseek_sandbox.testing.runtime_annotations import AnnotationPromises

if TYPE_CHECKING:
    from oneseek_sandbox.runtimes.runtime import ObjectState

__all__ = ["RuntimeContract"]

_THREAD = Thread("default", "conversation-1")
_WAIT_SECONDS = 20.0


def _labels(generation: int = 1000, thread: Thread = _THREAD) -> Labels:
    return Labels(thread, generation, idle_ms=900_000, sandbox_id=f"{generation:032x}")


class RuntimeContract(AnnotationPromises):
    """What every runtime promises; see `oneseek_sandbox.runtimes.runtime`."""

    can_restart = True
    """Whether files outlive the processes, so that `adopt` can start a stopped sandbox again."""

    @pytest.fixture
    async def runtime(self) -> Runtime:
        raise NotImplementedError("Override this fixture with your runtime, opened and empty.")

    @pytest.fixture
    async def other_server(self, runtime: Runtime) -> Runtime:
        raise NotImplementedError(
            "Override this fixture with a second one over the same sandboxes."
        )

    async def kill(self, sandbox: SandboxObject) -> None:
        raise NotImplementedError("End the processes of the sandbox behind the runtime's back.")

    async def answers(self, sandbox: SandboxObject) -> bool:
        """Return whether a worker answers at the address of the sandbox."""
        kind, _, where = sandbox.address.partition(":")
        try:
            if kind == "unix":
                reader, writer = await asyncio.open_unix_connection(where)
            else:
                host, _, port = where.rpartition(":")
                reader, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return False
        try:
            writer.write(
                b"GET /proof?nonce=00112233445566778899aabbccddeeff HTTP/1.1\r\nHost: sandbox\r\n\r\n"
            )
            await writer.drain()
            return (await reader.readline()).startswith(b"HTTP/1.1 200")
        except OSError:
            return False
        finally:
            writer.close()

    async def _reaches(self, runtime: Runtime, sandbox: SandboxObject, state: ObjectState) -> None:
        async with asyncio.timeout(_WAIT_SECONDS):
            while await runtime.inspect(sandbox.uid, sandbox.name) != state:
                await asyncio.sleep(0.01)

    async def test_a_created_sandbox_runs_and_its_worker_answers(self, runtime: Runtime) -> None:
        sandbox = await runtime.create(_labels())
        async with asyncio.timeout(_WAIT_SECONDS):
            while not await self.answers(sandbox):
                await asyncio.sleep(0.01)
        assert await runtime.inspect(sandbox.uid, sandbox.name) == "running"
        assert not sandbox.claimed
        assert not sandbox.restarted

    async def test_a_created_sandbox_is_found_with_its_labels(self, runtime: Runtime) -> None:
        sandbox = await runtime.create(_labels())
        (found,) = await runtime.find(_THREAD)
        assert found.uid == sandbox.uid
        assert found.labels is not None
        assert dataclasses.replace(found.labels, created_ms=0) == _labels()
        assert found.labels.created_ms > 0

    @pytest.mark.promise(8)
    async def test_labels_carry_any_scope_and_thread_unchanged(self, runtime: Runtime) -> None:
        threads = [
            Thread("../../etc", "a/b\\c d"),
            Thread("Ü😀", "x" * 256),
            Thread("a", "bc"),
            Thread("ab", "c"),
        ]
        made = {thread: await runtime.create(_labels(thread=thread)) for thread in threads}
        for thread in threads:
            (found,) = await runtime.find(thread)
            assert found.uid == made[thread].uid
            assert found.labels is not None
            assert found.labels.thread == thread

    async def test_find_puts_the_newest_generation_first(self, runtime: Runtime) -> None:
        made = [await runtime.create(_labels(generation)) for generation in (5, 7, 6)]
        found = await runtime.find(_THREAD)
        assert [sandbox.uid for sandbox in found] == [made[1].uid, made[2].uid, made[0].uid]

    async def test_uids_and_addresses_are_never_shared(self, runtime: Runtime) -> None:
        made = await asyncio.gather(*(runtime.create(_labels(n)) for n in (1, 2, 3)))
        assert len({sandbox.uid for sandbox in made}) == 3
        assert len({sandbox.address for sandbox in made}) == 3

    @pytest.mark.promise(8)
    async def test_another_server_finds_what_this_one_made(
        self, runtime: Runtime, other_server: Runtime
    ) -> None:
        sandbox = await runtime.create(_labels())
        assert [found.uid for found in await other_server.find(_THREAD)] == [sandbox.uid]
        assert sandbox.uid in {found.uid for found in await other_server.list()}

    @pytest.mark.promise(2)
    async def test_adopt_labels_anew_and_keeps_the_sandbox(self, runtime: Runtime) -> None:
        sandbox = await runtime.create(_labels(10))
        (found,) = await runtime.find(_THREAD)
        adopted = await runtime.adopt(found, _labels(11))
        assert adopted.uid == sandbox.uid
        assert not adopted.restarted
        (again,) = await runtime.find(_THREAD)
        assert again.labels is not None
        assert found.labels is not None
        assert again.labels.generation == 11
        assert again.labels.created_ms == found.labels.created_ms

    @pytest.mark.promise(3)
    async def test_an_older_generation_cannot_adopt(self, runtime: Runtime) -> None:
        await runtime.create(_labels(10))
        (found,) = await runtime.find(_THREAD)
        with pytest.raises(CreationLostError):
            await runtime.adopt(found, _labels(9))
        assert (await runtime.find(_THREAD)) == [found]

    @pytest.mark.promise(3)
    async def test_whoever_found_it_before_another_took_it_cannot_adopt(
        self, runtime: Runtime, other_server: Runtime
    ) -> None:
        await runtime.create(_labels(10))
        (found,) = await runtime.find(_THREAD)
        await other_server.adopt(found, _labels(12))
        with pytest.raises(CreationLostError):
            await runtime.adopt(found, _labels(11))
        with pytest.raises(CreationLostError):
            await runtime.adopt(found, _labels(13))
        (now,) = await runtime.find(_THREAD)
        assert now.labels is not None
        assert now.labels.generation == 12

    @pytest.mark.promise(3)
    async def test_of_many_adopters_at_once_one_wins(
        self, runtime: Runtime, other_server: Runtime
    ) -> None:
        await runtime.create(_labels(10))
        (found,) = await runtime.find(_THREAD)
        attempts = [
            server.adopt(found, _labels(generation))
            for generation, server in zip(range(11, 19), [runtime, other_server] * 4, strict=True)
        ]
        results = await asyncio.gather(*attempts, return_exceptions=True)
        winners = [result for result in results if isinstance(result, SandboxObject)]
        assert len(winners) == 1
        assert all(isinstance(r, CreationLostError) for r in results if r not in winners)
        (now,) = await runtime.find(_THREAD)
        assert now.labels == winners[0].labels

    async def test_adopting_what_was_stopped_says_it_is_lost(self, runtime: Runtime) -> None:
        sandbox = await runtime.create(_labels(10))
        (found,) = await runtime.find(_THREAD)
        assert await _ended(runtime, sandbox)
        with pytest.raises(SandboxLostError):
            await runtime.adopt(found, _labels(11))

    async def test_claiming_is_remembered(self, runtime: Runtime, other_server: Runtime) -> None:
        await runtime.create(_labels())
        (found,) = await runtime.find(_THREAD)
        await runtime.mark_claimed(found)
        (seen,) = await other_server.find(_THREAD)
        assert seen.claimed

    @pytest.mark.promise(3)
    async def test_a_late_claimer_changes_nothing(self, runtime: Runtime) -> None:
        await runtime.create(_labels(10))
        (found,) = await runtime.find(_THREAD)
        await runtime.adopt(found, _labels(11))
        with pytest.raises(LeaseError):
            await runtime.mark_claimed(found)
        (now,) = await runtime.find(_THREAD)
        assert not now.claimed

    async def test_a_stopped_sandbox_is_gone_for_everybody(
        self, runtime: Runtime, other_server: Runtime
    ) -> None:
        sandbox = await runtime.create(_labels())
        assert await _ended(runtime, sandbox)
        assert await other_server.inspect(sandbox.uid, sandbox.name) == "gone"
        assert await other_server.find(_THREAD) == []
        assert await other_server.list() == []
        assert not await self.answers(sandbox)

    async def test_stopping_again_is_no_error(self, runtime: Runtime) -> None:
        sandbox = await runtime.create(_labels())
        assert await _ended(runtime, sandbox)
        assert await runtime.stop(sandbox.uid, sandbox.name)
        assert await runtime.stop("never-made", "never-made")

    async def test_several_servers_stop_at_once(
        self, runtime: Runtime, other_server: Runtime
    ) -> None:
        sandbox = await runtime.create(_labels())
        servers = [runtime, other_server] * 3
        await asyncio.gather(*(server.stop(sandbox.uid, sandbox.name) for server in servers))
        assert await _ended(runtime, sandbox)

    @pytest.mark.promise(3)
    async def test_a_late_stopper_does_not_end_the_successor(self, runtime: Runtime) -> None:
        sandbox = await runtime.create(_labels(10))
        (found,) = await runtime.find(_THREAD)
        await runtime.adopt(found, _labels(11))
        assert not await runtime.stop(sandbox.uid, sandbox.name, generation=10)
        assert await runtime.inspect(sandbox.uid, sandbox.name) == "running"
        assert await _ended(runtime, sandbox, generation=11)

    @pytest.mark.promise(3)
    async def test_stopping_goes_by_uid_and_not_by_name(self, runtime: Runtime) -> None:
        sandbox = await runtime.create(_labels())
        assert await runtime.stop("another-uid", sandbox.name)
        assert await runtime.inspect("another-uid", sandbox.name) == "gone"
        assert await runtime.inspect(sandbox.uid, sandbox.name) == "running"

    @pytest.mark.promise(6)
    async def test_a_sandbox_stopped_while_adopted_is_whole_or_gone(
        self, runtime: Runtime, other_server: Runtime
    ) -> None:
        sandbox = await runtime.create(_labels(10))
        (found,) = await runtime.find(_THREAD)
        adopted, stopped = await asyncio.gather(
            runtime.adopt(found, _labels(11)),
            other_server.stop(sandbox.uid, sandbox.name, generation=10),
            return_exceptions=True,
        )
        if isinstance(adopted, SandboxObject):
            assert stopped is False
            assert await runtime.inspect(sandbox.uid, sandbox.name) == "running"
        else:
            assert isinstance(adopted, SandboxLostError)
            assert await _ended(runtime, sandbox)

    @pytest.mark.promise(7)
    async def test_a_killed_sandbox_is_told_from_a_running_one(self, runtime: Runtime) -> None:
        sandbox = await runtime.create(_labels())
        assert await runtime.explain(sandbox.uid, sandbox.name) == ""
        await runtime.mark_claimed((await runtime.find(_THREAD))[0])
        await self.kill(sandbox)
        await self._reaches(runtime, sandbox, "stopped" if self.can_restart else "gone")
        if not self.can_restart:
            return
        assert await runtime.explain(sandbox.uid, sandbox.name) != ""
        (found,) = await runtime.find(_THREAD)
        again = await runtime.adopt(found, _labels(1001))
        assert again.restarted
        assert again.uid == sandbox.uid
        await self._reaches(runtime, sandbox, "running")
        (found,) = await runtime.find(_THREAD)
        await runtime.mark_claimed(found)
        assert not (await runtime.find(_THREAD))[0].restarted


async def _ended(runtime: Runtime, sandbox: SandboxObject, generation: int | None = None) -> bool:
    async with asyncio.timeout(_WAIT_SECONDS):
        while not await runtime.stop(sandbox.uid, sandbox.name, generation=generation):
            await asyncio.sleep(0.05)
    return await runtime.inspect(sandbox.uid, sandbox.name) == "gone"
