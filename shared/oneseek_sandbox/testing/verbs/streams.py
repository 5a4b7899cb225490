"""Streams: output as it is printed, whole for a caller that takes it, and said where it is not."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from oneseek_sandbox.testing.verbs.calls import Sandbox, VerbsFixtures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

__all__ = ["StreamsContract"]

_NUMBERS_BYTES: Final = 3_388_895
_NUMBERS_SHA256: Final = "18c68655ed84064b77ff577ca9275d99a308ad9603eda1201b9cd1670ad755f3"
"""Of what `seq 500000` prints."""


class StreamsContract(VerbsFixtures):
    """What a stream of a command's output promises."""

    @pytest.mark.essential
    async def test_output_streams_as_it_is_printed(self, sandbox: Sandbox) -> None:
        events: list[tuple[str, dict[str, Any]]] = []
        async with sandbox.client.stream(
            "POST",
            "/v1/sandbox/execute",
            json={
                "sandbox_id": sandbox.id,
                "command": "echo one; until [ -e go ]; do sleep 0.01; done; echo two >&2; exit 3",
            },
            headers={"accept": "text/event-stream"},
        ) as response:
            async for name, data in _events(response):
                events.append((name, data))
                if data.get("text") == "one\n":
                    await sandbox.write("/workspace/go", "")
        assert events[0] == ("stdout", {"text": "one\n"})
        assert events[1] == ("stderr", {"text": "two\n"})
        assert events[-1][0] == "exit"
        assert events[-1][1]["exit_code"] == 3
        assert events[-1][1]["stdout"] == "one\n"

    @pytest.mark.finding(8)
    @pytest.mark.essential
    async def test_a_stream_that_is_taken_late_is_whole(self, sandbox: Sandbox) -> None:
        taken = bytearray()
        events = [name async for name, _ in _late_stream(sandbox, taken, stream_all=True)]
        assert hashlib.sha256(taken).hexdigest() == _NUMBERS_SHA256
        assert (events[-1], "gap" in events) == ("exit", False)

    @pytest.mark.finding(8)
    async def test_past_its_limit_a_stream_has_one_gap_and_then_its_end(
        self, sandbox: Sandbox
    ) -> None:
        taken = bytearray()
        events = [e async for e in _late_stream(sandbox, taken, max_output_bytes=10_000)]
        gaps = [data for name, data in events if name == "gap"]
        missing = _NUMBERS_BYTES - 10_000 - 64 * 1024
        assert gaps == [{"stream": "stdout", "bytes": missing}]
        assert taken.startswith(b"1\n2\n3\n")
        assert taken.endswith(b"\n499999\n500000\n")
        assert len(taken) == _NUMBERS_BYTES - missing
        answer = events[-1][1]
        assert (answer["stdout_bytes"], answer["stdout_truncated"]) == (_NUMBERS_BYTES, True)
        assert len(base64.b64decode(answer["stdout"])) == 10_000

    @pytest.mark.finding(8)
    async def test_all_output_is_only_for_streams(self, sandbox: Sandbox) -> None:
        message = await sandbox.refused(
            "execute", status=400, code="invalid_request", command="true", stream_all=True
        )
        assert "text/event-stream" in message


async def _events(response: httpx.Response) -> Any:  # noqa: ANN401 - an async generator of pairs
    name = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def _late_stream(
    sandbox: Sandbox, taken: bytearray, **fields: object
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Yield a command's events, of which none is taken before much was printed."""
    command = "seq 500000 | tee copy"
    request = {"sandbox_id": sandbox.id, "command": command, "encoding": "base64", **fields}
    headers = {"accept": "text/event-stream"}
    async with sandbox.client.stream(
        "POST", "/v1/sandbox/execute", json=request, headers=headers
    ) as response:
        await sandbox.run("until [ $(stat -c %s copy || echo 0) -gt 100000 ]; do sleep 0.02; done")
        async for name, data in _events(response):
            if name == "stdout":
                taken += base64.b64decode(data["text"])
            yield name, data
