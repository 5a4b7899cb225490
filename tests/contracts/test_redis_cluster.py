"""A real cluster of two nodes: all keys share a slot, and the store finds the node that has it."""

from __future__ import annotations

import asyncio
import subprocess

import pytest
from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from oneseek_sandbox.leases.embedded import find_program
from oneseek_sandbox.leases.redis import RedisLeaseStore
from oneseek_sandbox.leases.store import Creation, LeaseTerms, Placement, Thread
from oneseek_sandbox.testing.server import free_port

SLOTS = 16384


@pytest.fixture
async def nodes(tmp_path):
    """Two nodes with half of the slots each."""
    ports, buses, processes = [free_port(), free_port()], [free_port(), free_port()], []
    for port, bus in zip(ports, buses, strict=True):
        folder = tmp_path / str(port)
        folder.mkdir()
        processes.append(start_node(folder, port, bus))
    clients = [Redis(port=port, decode_responses=True) for port in ports]
    for client in clients:
        await answering(client)
    clients[0].execute_command("CLUSTER ADDSLOTSRANGE", 0, SLOTS // 2 - 1)
    clients[1].execute_command("CLUSTER ADDSLOTSRANGE", SLOTS // 2, SLOTS - 1)
    clients[0].execute_command("CLUSTER MEET", "127.0.0.1", ports[1], buses[1])
    async with asyncio.timeout(20):
        while any(state(client) != "ok" for client in clients):
            await asyncio.sleep(0.05)
    yield ports
    for client in clients:
        client.close()
    for process in processes:
        process.terminate()
        process.wait(20)


def start_node(folder, port, bus):
    options = {
        "port": port,
        "cluster-port": bus,
        "cluster-enabled": "yes",
        "dir": folder,
        "save": "",
        "bind": "127.0.0.1",
    }
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    return subprocess.Popen([find_program(), *arguments], stdout=subprocess.DEVNULL, cwd=folder)


async def answering(client):
    async with asyncio.timeout(20):
        while True:
            try:
                return client.ping()
            except (RedisError, OSError):
                await asyncio.sleep(0.02)


def state(client):
    return client.execute_command("CLUSTER INFO")["cluster_state"]


@pytest.mark.parametrize("prefix", ["oneseek", "another", "third"])
async def test_a_lease_lives_whichever_node_is_named(nodes, prefix):
    owner = nodes[0] if key_slot(f"{{{prefix}}}:x".encode()) < SLOTS // 2 else nodes[1]
    for port in nodes:
        store = RedisLeaseStore(f"redis://127.0.0.1:{port}/0", LeaseTerms(), prefix)
        await store.open()
        thread = Thread("default", f"by-{port}")
        creation = await store.acquire(thread, attempt="a")
        assert isinstance(creation, Creation)
        placement = Placement("uid", "name", "unix:/x", "token", "key", "boot")
        lease = await store.commit(creation, placement)
        assert (await store.pin(thread, sandbox_id=None, pin_id="p", limit_ms=1000)).sandbox_id == (
            lease.sandbox_id
        )
        assert thread in {live.thread for live in await store.leases()}
        await store.close()
    with Redis(port=owner) as client:
        assert client.dbsize() > 0
