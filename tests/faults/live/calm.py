"""What every thread must be able to do once the faults are over, and how it ends."""

from __future__ import annotations

import asyncio

from tests.faults.live.outside import LOG
from tests.faults.live.traffic import THREADS, WORKSPACE, Answer, Calls

__all__ = ["SYNCED", "Calm"]

SYNCED = f"{WORKSPACE}/synced"
_FILES = (f"{WORKSPACE}/file-0", f"{WORKSPACE}/file-1")
_PAUSE_SECONDS = 0.1


class Calm:
    """Calls that must be done in the end.

    Args:
        seconds: How long after the faults one may still be refused.

    Attributes:
        findings: What was refused for longer.
    """

    def __init__(self, calls: Calls, seconds: float) -> None:
        self._calls, self._seconds = calls, seconds
        self.findings: list[str] = []

    async def settle(self, thread: str) -> None:
        """After the faults every thread has its sandbox, and what it wrote."""
        await self.until_done("acquire", thread)
        for path in (*_FILES, SYNCED):
            await self.until_done("read_file", thread, path=path)
        calm, name = f"{WORKSPACE}/calm", f"calm-{thread}"
        await self.until_done("write_file", thread, path=calm, content=name)
        await self.until_done("read_file", thread, path=calm)
        for _ in range(2):
            command = f"echo {name} >> {WORKSPACE}/{LOG}"
            await self.until_done("execute", thread, command=command, request_id=name)

    async def end(self, thread: str) -> None:
        """Release; of the first thread also look that what was released does not come back."""
        if thread == THREADS[0]:
            before = await self.until_done("acquire", thread)
            await self.until_done("release", thread)
            await self.until_done("acquire", thread)
            await self._calls("ls", thread, sandbox_id=before.value.get("sandbox_id", "0" * 32))
            await self.until_done("read_file", thread, path=_FILES[0])
        await self.until_done("release", thread)

    async def until_done(self, verb: str, thread: str, **fields: object) -> Answer:
        """Call until it is done, acquiring again where that is what is said to help."""
        clock = asyncio.get_running_loop().time
        deadline, code = clock() + self._seconds, ""
        while clock() < deadline:
            answer = await self._calls(verb, thread, **fields)
            if answer.ok or answer.code in ("file_not_found", "lease_not_found"):
                return answer
            code = answer.code or "cut"
            if verb != "acquire" and code.startswith(("sandbox_", "lease_")):
                await self._calls("acquire", thread)
            await asyncio.sleep(_PAUSE_SECONDS)
        self.findings.append(
            f"held up: {verb} of {thread} still answers {code} {self._seconds:.0f} s after the faults"
        )
        return Answer(code=code)
