#!/bin/bash
# asyncio.timeout() around an anyio stream's receive() loses items; anyio's own timeout does not.
#
# One would expect:  a cancelled receive() either has the item or leaves it for the next one, as
#   asyncio.Queue.get() does, whoever cancels: on asyncio both kinds end in Task.cancel().
# What happens:  the sender hands the item to the waiting receiver. If asyncio cancels the task in
#   that moment, the item is gone: neither received nor in the buffer. Where the cancellation
#   comes from an anyio scope, anyio knows that the item was handed over and returns it.
# Version:  anyio 4.16.0, on asyncio (all 100 items lost here; the race is forced in each round).
# Matters to:  whatever sits on anyio's streams (Starlette, MCP, httpx's test transports) and is
#   called from code that uses asyncio.timeout, wait_for or task.cancel(): now and then a message is
#   missing, without an error. Use anyio.fail_after there, or put an asyncio.Queue between.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile anyio==4.16.0
cd "$work"

cat >see.py <<'EOF'
import asyncio
import importlib.metadata
import sys

import anyio

ROUNDS = 100


async def cancelled_by_task():
    """Send to a receiver that waits, then cancel its task: (received, left), of each kind."""
    send, receive = anyio.create_memory_object_stream(ROUNDS)
    queue = asyncio.Queue()
    from_stream, from_queue = [], []

    async def take(method, items):
        items.append(await method())

    for number in range(ROUNDS):
        tasks = [
            asyncio.create_task(take(receive.receive, from_stream)),
            asyncio.create_task(take(queue.get, from_queue)),
        ]
        await anyio.wait_all_tasks_blocked()
        send.send_nowait(number)
        queue.put_nowait(number)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while len(from_queue) <= number:  # what a cancelled get() has left
            from_queue.append(queue.get_nowait())
    left = receive.statistics().current_buffer_used
    send.close()
    receive.close()
    return len(from_stream) + left, len(from_queue)


async def cancelled_by_scope():
    send, receive = anyio.create_memory_object_stream(ROUNDS)
    items = []

    async def take():
        items.append(await receive.receive())

    for number in range(ROUNDS):
        async with anyio.create_task_group() as group:
            group.start_soon(take)
            await anyio.wait_all_tasks_blocked()
            send.send_nowait(number)
            group.cancel_scope.cancel()
    left = receive.statistics().current_buffer_used
    send.close()
    receive.close()
    return len(items) + left


print("anyio", importlib.metadata.version("anyio"), f"- {ROUNDS} items sent")
stream, queue = asyncio.run(cancelled_by_task())
scope = asyncio.run(cancelled_by_scope())
print(f"task.cancel():   {stream} received or left in the stream, {queue} in asyncio.Queue")
print(f"scope.cancel():  {scope} received or left in the stream")
if (stream, queue, scope) != (0, ROUNDS, ROUNDS):
    sys.exit("not seen: the behaviour has changed")
EOF
"$work/venv/bin/python" see.py
