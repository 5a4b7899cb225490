#!/bin/bash
# The Kubernetes clients report 409 Conflict for a write of their own that has succeeded.
#
# One would expect:  replace_namespaced_lease() with a resourceVersion is sent once. If the
#   connection breaks before the answer, the caller gets an error and looks again; 409 says that
#   somebody else has written.
# What happens:  the HTTP library below takes PUT and DELETE for safe to repeat and sends them again
#   on a new connection, without a word: urllib3 below kubernetes, aiohttp below kubernetes_asyncio.
#   The second PUT meets the new resourceVersion: 409. The second DELETE: 404. POST is sent once.
# Versions:  kubernetes 37.0.2 (urllib3 2.8.0), kubernetes_asyncio 36.1.0 (aiohttp 3.14.5).
# Matters to:  leader election, leases and any "compare and set" on an object: a holder that gives
#   way on 409 gives way to itself. After a conflict, read the object and look who holds it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile \
  kubernetes==37.0.2 urllib3==2.8.0 kubernetes_asyncio==36.1.0 aiohttp==3.14.5
cd "$work"

cat >see.py <<'EOF'
import asyncio
import importlib.metadata
import json
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import kubernetes
import kubernetes_asyncio

logging.disable()


class Server:
    """One Lease with optimistic locking; may lose the answer to its next write."""

    def __init__(self):
        self.version, self.exists = 1, True
        self.writes, self.lose_answer = [], False

    def lease(self):
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "leader", "resourceVersion": str(self.version)},
        }

    def write(self, verb, body):
        self.writes.append(verb)
        if not self.exists:
            return 404
        if verb == "DELETE":
            self.exists = False
        elif body["metadata"]["resourceVersion"] != str(self.version):
            return 409
        self.version += 1
        return 200


state = Server()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code):
        text = json.dumps(state.lease() if code == 200 else {"kind": "Status", "code": code}).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        self.answer(200)

    def do_PUT(self):
        length = int(self.headers.get("content-length") or 0)
        code = state.write(self.command, json.loads(self.rfile.read(length) or b"{}"))
        if state.lose_answer:
            state.lose_answer = False
            self.close_connection = True
            return
        self.answer(code)

    do_DELETE = do_PUT

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
host = f"http://127.0.0.1:{server.server_port}"
seen = []


async def see(name, api):
    """Replace, then delete, with the answer lost each time; works with either client."""

    async def call(method, *args):
        result = getattr(api, method)(*args)
        return await result if asyncio.iscoroutine(result) else result

    for method in ("replace_namespaced_lease", "delete_namespaced_lease"):
        state.exists = True
        lease = await call("read_namespaced_lease", "leader", "default")
        before, state.lose_answer = state.version, True
        state.writes.clear()
        try:
            await call(method, "leader", "default", *([lease] if "replace" in method else []))
            told = "no error"
        except Exception as error:
            told = getattr(error, "status", type(error).__name__)
        applied = state.version - before
        print(f"{name}: {method}: told {told}; applied {applied}; sent {state.writes}")
        seen.append((told, applied, list(state.writes)))


async def main():
    configuration = kubernetes.client.Configuration(host=host)
    client = kubernetes.client.ApiClient(configuration)
    version = importlib.metadata.version("kubernetes")
    await see(f"kubernetes {version}", kubernetes.client.CoordinationV1Api(client))
    configuration = kubernetes_asyncio.client.Configuration(host=host)
    async with kubernetes_asyncio.client.ApiClient(configuration) as client:
        version = importlib.metadata.version("kubernetes_asyncio")
        api = kubernetes_asyncio.client.CoordinationV1Api(client)
        await see(f"kubernetes_asyncio {version}", api)


asyncio.run(main())
if seen != [(409, 1, ["PUT", "PUT"]), (404, 1, ["DELETE", "DELETE"])] * 2:
    sys.exit("not seen: the behaviour has changed")
EOF
"$work/venv/bin/python" see.py
