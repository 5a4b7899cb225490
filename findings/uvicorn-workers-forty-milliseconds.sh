#!/bin/bash
# With --workers 2, uvicorn on asyncio answers a streamed response 40 ms late, every time.
#
# One would expect:  the number of worker processes changes throughput, not the latency of a
#   single client that sends one request after the other on one connection.
# What happens:  with one process asyncio makes the listening socket by name, its protocol number
#   is TCP, and accepted connections get TCP_NODELAY. With several, uvicorn makes the socket itself
#   with protocol number 0; accepted connections inherit the 0, asyncio then leaves Nagle's
#   algorithm on, and the second small write of a response waits for the client's delayed
#   acknowledgement (40 ms on Linux). uvloop sets the option on every connection and is not slow.
# Versions:  uvicorn 0.54.0, uvloop 0.23.0.
# Matters to:  whoever streams small pieces (server-sent events, tool output, JSON lines) and scales
#   out by the flag: the bench with one process does not show it. The same holds for any accepted
#   or hand-made socket that is given to asyncio, a sandbox's socket for instance.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile uvicorn==0.54.0 h11==0.16.0 click==8.5.1 uvloop==0.23.0
cd "$work"

cat >app.py <<'EOF'
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only HTTP here")
    await receive()
    headers = [(b"content-length", b"10")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello", "more_body": True})
    await send({"type": "http.response.body", "body": b"again"})
EOF

cat >measure.py <<'EOF'
import http.client
import socket
import statistics
import subprocess
import sys
import time


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def median_ms(loop, workers):
    port = free_port()
    options = ["--http", "h11", "--lifespan", "off", "--log-level", "critical"]
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port)]
        + ["--loop", loop, "--workers", str(workers), *options]
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                client.request("GET", "/")
                client.getresponse().read()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        times = []
        for _ in range(41):
            begin = time.perf_counter()
            client.request("GET", "/")
            client.getresponse().read()
            times.append((time.perf_counter() - begin) * 1000)
        client.close()
    finally:
        server.terminate()
        server.wait(30)
    median = statistics.median(times)
    print(f"{loop:8} --workers {workers}: median of 41 calls {median:6.1f} ms", flush=True)
    return median


one = median_ms("asyncio", 1)
several = median_ms("asyncio", 2)
other_loop = median_ms("uvloop", 2)
if not (several > 30 and one < 20 and other_loop < 20):
    sys.exit("not seen: the behaviour has changed, or this machine is too busy to tell")
EOF
"$work/venv/bin/python" measure.py
