"""Measures what hundreds of readers that wait for output cost everybody else.

`execute` and `signal` are called with no reader attached and with all of them, in turns, on a server
of its own: p50 and p99, and the ratio of each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import statistics
import tempfile
from typing import TYPE_CHECKING, Any

import httpx
from hops import milliseconds
from rich.console import Console
from rich.table import Table
from run import running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from oneseek_sandbox.testing.server import LiveServer

PROCESSES = 4  # of a sandbox
READERS = 4  # of a process, the most there may be
OF_A_KEY = 64  # readers, the most there may be
CALLS = ("execute", "signal")


class Readers:
    """The sandboxes whose processes are read, and those who read them."""

    def __init__(self, clients: list[httpx.AsyncClient], count: int) -> None:
        self._clients = clients
        self._names = [
            (number // (PROCESSES * READERS), number // READERS % PROCESSES)
            for number in range(count)
        ]

    async def start_processes(self) -> None:
        """Start what will be read: processes that print nothing until they end."""
        client = self._clients[0]
        for sandbox, process in sorted(set(self._names)):
            name = {"thread_id": f"read-{sandbox}"}
            if not process:
                await call(client, "acquire", **name)
            fields = {"command": ["sleep", "3600"], "background": True}
            await call(client, "execute", request_id=f"process-{process}", **name, **fields)

    @contextlib.asynccontextmanager
    async def attached(self) -> AsyncIterator[None]:
        """Inside, all of them wait."""
        async with contextlib.AsyncExitStack() as stack:
            for number, (sandbox, process) in enumerate(self._names):
                request = {"thread_id": f"read-{sandbox}", "request_id": f"process-{process}"}
                answer = await stack.enter_async_context(
                    self._clients[number // OF_A_KEY].stream(
                        "POST",
                        "/v1/sandbox/attach",
                        json=request | {"wait_seconds": 540},
                        headers={"accept": "text/event-stream"},
                    )
                )
                assert answer.status_code == 200, answer.status_code
            yield


async def call(client: httpx.AsyncClient, verb: str, **fields: object) -> dict[str, Any]:
    response = await client.post(f"/v1/sandbox/{verb}", json=fields)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def measure(
    clients: list[httpx.AsyncClient], readers: int, rounds: int, calls: int
) -> dict[str, dict[str, list[float]]]:
    """Return the milliseconds of each kind of call, without readers and with them."""
    client = clients[0]
    name = {"thread_id": "other"}
    await call(client, "acquire", **name)
    await call(
        client, "execute", **name, command=["sleep", "3600"], background=True, request_id="p"
    )
    actions = {
        "execute": lambda: call(client, "execute", **name, command=["true"]),
        "signal": lambda: call(client, "signal", **name, request_id="p", signal="CONT"),
    }
    found: dict[str, dict[str, list[float]]] = {kind: {"none": [], "all": []} for kind in CALLS}
    crowd = Readers(clients, readers)
    await crowd.start_processes()
    for _ in range(rounds):
        for which in ("none", "all"):
            async with crowd.attached() if which == "all" else contextlib.nullcontext():
                for kind, action in actions.items():
                    await milliseconds(action, 20)  # warm
                    found[kind][which] += await milliseconds(action, calls)
    return found


def print_figures(found: dict[str, dict[str, list[float]]], readers: int) -> None:
    table = Table(
        "call", "", "no reader", f"{readers} readers", "ratio", "aim", box=None, pad_edge=False
    )
    for kind, figures in found.items():
        for what, at, aim in (("p50", 50, ""), ("p99", 99, "≤ 2")):
            none, crowd = (
                statistics.quantiles(figures[which], n=100)[at - 1] for which in ("none", "all")
            )
            table.add_row(
                kind, what, f"{none:.2f} ms", f"{crowd:.2f} ms", f"{crowd / none:.2f}", aim
            )
    Console(highlight=False).print(table)


async def run(server: LiveServer, keys: list[str], given: argparse.Namespace) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=server.url,
                    headers={"authorization": f"Bearer {key}"},
                    timeout=600,
                    limits=httpx.Limits(max_connections=None),
                )
            )
            for key in keys
        ]
        print_figures(
            await measure(clients, given.readers, given.rounds, given.calls), given.readers
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what waiting readers cost others.")
    parser.add_argument("--readers", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each")
    parser.add_argument("--calls", type=int, default=300, help="calls of each kind in a turn")
    given = parser.parse_args()
    others = [secrets.token_hex() for _ in range((given.readers - 1) // OF_A_KEY)]
    with tempfile.NamedTemporaryFile("w", prefix="bench", suffix=".json") as listed:
        json.dump([{"name": f"key-{n}", "key": key} for n, key in enumerate(others)], listed)
        listed.flush()
        with running_server(settings={"PROVISIONER_API_KEYS_FILE": listed.name}) as server:
            asyncio.run(run(server, [server.key, *others], given))


if __name__ == "__main__":
    main()
