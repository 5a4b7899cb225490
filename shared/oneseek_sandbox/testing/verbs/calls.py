"""How the suites call verbs."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator  # noqa: TC003 - pytest looks at the annotation
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx

__all__ = ["Sandbox", "VerbsFixtures", "call", "refused"]


async def call(client: httpx.AsyncClient, verb: str, **fields: object) -> dict[str, Any]:
    """Call a verb that must succeed, and return its answer."""
    response = await client.post(f"/v1/sandbox/{verb}", json=fields)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def refused(
    client: httpx.AsyncClient, verb: str, *, status: int, code: str, **fields: object
) -> str:
    """Call a verb that must be refused with this status and code, and return the message."""
    response = await client.post(f"/v1/sandbox/{verb}", json=fields)
    error = response.json().get("error", {})
    assert (response.status_code, error.get("code")) == (status, code), response.text
    assert error["trace_id"]
    return str(error["message"])


class Sandbox:
    """A sandbox under test, named by its id."""

    def __init__(self, client: httpx.AsyncClient, acquired: dict[str, Any]) -> None:
        self.client = client
        self.id: str = acquired["sandbox_id"]
        self.thread: str = acquired["thread_id"]
        self.acquired = acquired

    async def call(self, verb: str, **fields: object) -> dict[str, Any]:
        return await call(self.client, verb, sandbox_id=self.id, **fields)

    async def refused(self, verb: str, *, status: int, code: str, **fields: object) -> str:
        return await refused(
            self.client, verb, status=status, code=code, sandbox_id=self.id, **fields
        )

    async def run(self, command: str | list[str], **fields: object) -> dict[str, Any]:
        return await self.call("execute", command=command, **fields)

    async def write(self, path: str, content: str, **fields: object) -> dict[str, Any]:
        return await self.call("write_file", path=path, content=content, **fields)

    async def read(self, path: str, **fields: object) -> dict[str, Any]:
        return await self.call("read_file", path=path, **fields)


class VerbsFixtures:
    """Fixtures that every suite uses; `client` comes from the class that inherits them."""

    @pytest.fixture
    def thread(self) -> str:
        return f"thread-{secrets.token_hex(6)}"

    @pytest.fixture
    async def sandbox(self, client: httpx.AsyncClient, thread: str) -> AsyncIterator[Sandbox]:
        yield Sandbox(client, await call(client, "acquire", thread_id=thread))
        await client.post("/v1/sandbox/release", json={"thread_id": thread})
