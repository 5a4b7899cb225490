"""A server that answers as a test says."""

from __future__ import annotations

import httpx
from tests.client.conftest import KEY

from oneseek_sandbox.client.remote import RemoteSandboxes

__all__ = ["RELEASED", "WRITTEN", "Script", "client_of", "error"]

RELEASED = {"released": True, "already_released": False}
WRITTEN = {"path": "/workspace/x", "size": 5, "sha256": None, "created": True}


class Script(httpx.AsyncBaseTransport):
    """A server that plays one answer, or one failure, a call."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.requests = []

    async def handle_async_request(self, request):
        self.requests.append((request, await request.aread()))
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


def error(status, code, **fields):
    headers = {k.replace("_", "-"): v for k, v in fields.pop("headers", {}).items()}
    error = {"code": code, "message": "told", "retryable": status in (429, 502, 503), **fields}
    return httpx.Response(status, json={"error": error}, headers=headers)


def client_of(*steps, **options):
    script = Script(*steps)
    return RemoteSandboxes("http://sandbox.test", KEY, transport=script, **options), script
