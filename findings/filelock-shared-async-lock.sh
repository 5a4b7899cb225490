#!/bin/bash
# An AsyncFileLock that tasks share, or one made with is_singleton=True, excludes none of them.
#
# One would expect:  "async with lock:" lets one task in at a time, as asyncio.Lock does; and a
#   singleton for the same path is the safest form of it.
# What happens:  the lock object may be entered again by whoever has it, and it counts by object, not
#   by task: the second and third task are let in at once. Three objects for the same path do
#   exclude each other. FileLock with thread_local=False does the same to threads.
# Version:  filelock 4.3.1.
# Matters to:  services that protect a file or a folder per tenant with one lock object per path, in a
#   dictionary: other processes are kept out, one's own requests are not. Make a new object
#   for each use, or put an asyncio.Lock before it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile filelock==4.3.1
cd "$work"

cat >see.py <<'EOF'
import asyncio
import importlib.metadata
import sys
import threading
import time

from filelock import AsyncFileLock, FileLock


async def most_tasks_inside(lock_for_task):
    inside, most = 0, 0

    async def work():
        nonlocal inside, most
        async with lock_for_task():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.3)
            inside -= 1

    await asyncio.gather(work(), work(), work())
    return most


def most_threads_inside(lock):
    inside, most, count = 0, 0, threading.Lock()

    def work():
        nonlocal inside, most
        with lock:
            with count:
                inside += 1
                most = max(most, inside)
            time.sleep(1)
            with count:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return most


async def main():
    shared = AsyncFileLock("shared.lock")
    return {
        "one AsyncFileLock, three tasks": await most_tasks_inside(lambda: shared),
        "AsyncFileLock(is_singleton=True) each": await most_tasks_inside(
            lambda: AsyncFileLock("singleton.lock", is_singleton=True)
        ),
        "an AsyncFileLock each": await most_tasks_inside(lambda: AsyncFileLock("own.lock")),
    }


seen = asyncio.run(main())
seen["one FileLock(thread_local=False), three threads"] = most_threads_inside(
    FileLock("threads.lock", thread_local=False)
)
print("filelock", importlib.metadata.version("filelock"))
for name, most in seen.items():
    print(f"  {name}: at most {most} inside at once")
if list(seen.values()) != [3, 3, 1, 3]:
    sys.exit("not seen: the behaviour has changed")
EOF
"$work/venv/bin/python" see.py
