"""Backends at work: a few threads, each used by several callers at once, every call recorded."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from tests.faults.history import Recorder
from tests.faults.live.outside import LOG

from oneseek_sandbox.http.verbs import FUNCTIONS

__all__ = ["THREADS", "WORKSPACE", "Answer", "Caller", "Calls", "callers"]

THREADS = ("t0", "t1", "t2")
WORKSPACE = "/workspace"
_CALLERS_OF_A_THREAD = 2
_FEWEST_STEPS = 8
_LONGER_SECONDS = 10.0
_HANG_SECONDS = 60.0
_AGAIN = ("sandbox_unavailable", "store_unavailable", "input_full", "shutting_down")
_GONE = ("sandbox_released", "sandbox_expired", "lease_not_found")
_TOLD = ("sandbox_id", "generation", "reused", "restarted", "released", "already_released")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `value` of a call that was done, `code` of one that was refused."""

    value: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    cut: bool = False

    @property
    def ok(self) -> bool:
        return not self.code and not self.cut


class Calls:
    """Makes calls and keeps them in the history.

    Args:
        address: Returns the base URL of one of the servers of a verb, by any number.
        headers: Of every call.
        prefix: Of the threads' names as the servers know them.
        hang_seconds: Longer than any fault lasts; a call that takes so long is one that hangs.
        on_given: Called with the id of a sandbox that an acquire was answered with.
    """

    def __init__(
        self,
        recorder: Recorder,
        address: Callable[[str, int], str],
        headers: dict[str, str],
        *,
        prefix: str = "",
        hang_seconds: float = _HANG_SECONDS,
        on_given: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._recorder, self._address, self._prefix = recorder, address, prefix
        self._on_given = on_given
        limits = httpx.Limits(max_connections=200)
        self._client = httpx.AsyncClient(
            headers=headers, timeout=hang_seconds, trust_env=False, limits=limits
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def __call__(self, verb: str, thread: str, choice: int = 0, **fields: Any) -> Answer:
        """Call a verb at one of its servers."""
        by_thread = thread and "sandbox_id" not in fields
        named = {"thread_id": self._prefix + thread} if by_thread else {}
        number = self._recorder.call(verb, thread, **fields)
        try:
            response = await self._client.post(
                f"{self._address(FUNCTIONS[verb], choice)}/v1/sandbox/{verb}",
                json={**named, **fields},
            )
            body = response.json()
        except httpx.ReadTimeout:
            return Answer(cut=True)  # without an answer in the history: it hangs
        except (httpx.TransportError, ValueError):
            self._recorder.cut(number)
            return Answer(cut=True)
        if response.status_code != 200:
            error = body["error"]
            self._recorder.error(number, error["code"], may_have_run=error.get("may_have_run"))
            return Answer(code=error["code"])
        self._recorder.ok(number, **_of_interest(verb, body))
        if verb == "acquire":
            self._on_given(body["sandbox_id"])
        return Answer(body)


def _of_interest(verb: str, body: dict[str, Any]) -> dict[str, Any]:
    if verb == "read_file":
        return {"content": body["content"]}
    if verb == "execute":
        return {name: body[name] for name in ("exit_code", "killed_by", "pid") if name in body}
    if verb == "attach":
        gaps = any(event["type"] == "gap" for event in body["events"])
        text = "".join(event.get("text", "") for event in body["events"])
        return {"text": text, "gaps": gaps, "state": body["process"]["state"]}
    return {name: body[name] for name in _TOLD if name in body}


class Caller:
    """One of the callers of a thread; it alone writes its own file.

    Args:
        number: Of the caller, in the thread.
    """

    def __init__(self, calls: Calls, seed: int, thread: str, number: int) -> None:
        self.thread, self.name = thread, f"{thread}-{number}"
        self.path = f"{WORKSPACE}/file-{number}"
        self._calls = calls
        self._choose = random.Random(f"caller {seed} {self.name}")
        self._sandbox_id = ""
        self._made = self._steps = 0

    async def work(self, until: float) -> None:
        """Call one verb after another; on a busy machine for longer, so that there is something."""
        clock = asyncio.get_running_loop().time
        while clock() < until or (
            self._steps < _FEWEST_STEPS and clock() < until + _LONGER_SECONDS
        ):
            self._steps += 1
            await self._one()
            await asyncio.sleep(self._choose.uniform(0.0, 0.08))

    async def _one(self) -> None:
        if not self._sandbox_id or self._choose.random() < 0.12:
            await self._acquire()
            return
        weights = {
            "_write": 6,
            "_read": 5,
            "_run": 5,
            "_replace": 2,
            "_list": 1,
            "_release": 1,
            "_talk": 2,
        }
        name = self._choose.choices(list(weights), list(weights.values()))[0]
        answer = await getattr(self, name)()
        if answer.code.startswith(("sandbox_", "lease_")):
            await self._acquire()

    def _which(self) -> dict[str, str]:
        """Name the sandbox by its id most of the time."""
        by_id = self._choose.random() < 0.7
        return {"sandbox_id": self._sandbox_id} if by_id and self._sandbox_id else {}

    def _new(self, kind: str) -> str:
        self._made += 1
        return f"{kind}-{self.name}-{self._made}"

    async def _call(self, verb: str, **fields: Any) -> Answer:
        return await self._calls(verb, self.thread, self._choose.randrange(100), **fields)

    async def _acquire(self) -> None:
        # One in three comes with others, through any server, at the same time.
        count = self._choose.choice((1, 1, 3))
        answers = await asyncio.gather(*(self._call("acquire") for _ in range(count)))
        for answer in answers:
            self._sandbox_id = answer.value.get("sandbox_id", self._sandbox_id)

    async def _write(self) -> Answer:
        return await self._call(
            "write_file", **self._which(), path=self.path, content=self._new("text")
        )

    async def _read(self) -> Answer:
        other = f"{WORKSPACE}/file-{self._choose.randrange(_CALLERS_OF_A_THREAD)}"
        return await self._call("read_file", **self._which(), path=other)

    async def _list(self) -> Answer:
        return await self._call("ls", **self._which())

    async def _replace(self) -> Answer:
        """Replace text of a file of its own, which nothing else reads."""
        return await self._call(
            "replace", **self._which(), path=f"{self.path}.notes", old="a", new="b"
        )

    async def _run(self) -> Answer:
        """Run a command under an id that may run once; ask again, as a backend does.

        Always in one sandbox: in another one, after a 410, it would be another command.
        """
        request_id = self._new("once")
        seconds = self._choose.choice((0, 0, 0.05, 0.3))
        command = f"echo {request_id} >> {WORKSPACE}/{LOG}; sleep {seconds}"
        again = self._choose.random() < 0.25
        which = {"sandbox_id": self._sandbox_id}
        answer = Answer()
        for attempt in range(3):
            answer = await self._call(
                "execute", **which, command=command, request_id=request_id, timeout_seconds=5
            )
            if answer.ok and not (again and attempt == 0):
                break
            if answer.code in _GONE:
                break
            if answer.code.startswith("sandbox_"):
                await self._acquire()
        return answer

    async def _talk(self) -> Answer:
        """Start a process, speak to it line by line, each line perhaps twice, read it, stop it."""
        request_id = self._new("once")
        which = {"sandbox_id": self._sandbox_id, "request_id": request_id}
        # What the shell says of a full disk is no answer to what is typed.
        logged = f"echo {request_id} >> {WORKSPACE}/{LOG}"
        script = f"{{ {logged}; }} 2>/dev/null; while read l; do echo $l; done"
        fields = {"background": True, "stdin_open": True, "timeout_seconds": 5}
        answer = await self._until_told("execute", **which, command=script, **fields)
        if not answer.ok:
            return answer
        offset = 0
        for line in (f"{number:04}\n" for number in range(self._choose.randint(1, 4))):
            for _ in range(self._choose.choice((1, 1, 2))):
                await self._until_told("input", **which, data=line, offset=offset)
            offset += len(line)
            if self._choose.random() < 0.5:
                await self._call("attach", **which, offset=0, wait_seconds=0.2)
        if self._choose.random() < 0.5:
            await self._until_told("input", **which, offset=offset, close=True)
        else:
            await self._until_told("signal", **which, signal="KILL")
        return await self._call("attach", **which, offset=0, wait_seconds=0.5)

    async def _until_told(self, verb: str, **fields: Any) -> Answer:
        """Call, and again where nobody knows or it is worth another try."""
        answer = Answer()
        for _ in range(3):
            answer = await self._call(verb, **fields)
            if answer.ok or not (answer.cut or answer.code in _AGAIN):
                break
            await asyncio.sleep(0.05)
        return answer

    async def _release(self) -> Answer:
        answer = await self._call("release", **self._which())
        if answer.ok:
            self._sandbox_id = ""
        return answer


def callers(calls: Calls, seed: int) -> list[Caller]:
    """Return all the callers of a schedule."""
    return [
        Caller(calls, seed, thread, number)
        for thread in THREADS
        for number in range(_CALLERS_OF_A_THREAD)
    ]
