"""A proxy before the API server: passes every call on with its own credentials, or breaks it.

Functions reach it by a kubeconfig that names it without TLS; their service accounts' tokens go on
to the API server, whose rights hold as ever.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

__all__ = ["ApiProxy"]

_KEPT = ("authorization", "content-type", "accept", "impersonate-user")
_LATE_SECONDS = (0.3, 2.5)
_ANSWER_SECONDS = 120.0
_STATUS = {"api_conflicts": 409, "api_busy": 429, "api_broken": 500, "api_lost": 500}
_REASON = {409: "Conflict", 429: "TooManyRequests", 500: "InternalError"}


class ApiProxy:
    """Listens on all addresses of this machine.

    Attributes:
        port: Where it listens.
        hit: How many calls were broken, by kind and method, and passed on.
    """

    def __init__(self, server: str, tls: ssl.SSLContext) -> None:
        self.port = 0
        self.hit: Counter[str] = Counter()
        self._server, self._tls = server, tls
        self._kind, self._share = "", 0.0
        self._choose = random.Random()
        methods = ["GET", "POST", "PATCH", "PUT", "DELETE"]
        app = Starlette(routes=[Route("/{path:path}", self._pass, methods=methods)])
        config = uvicorn.Config(
            app, host="0.0.0.0", port=0, log_level="error", lifespan="off", access_log=False
        )
        self._http: httpx.AsyncClient | None = None
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._uvicorn.run, daemon=True)

    async def start(self) -> None:
        """Listen; in a thread of its own, so that traffic does not slow it."""
        self._thread.start()
        while not self._uvicorn.started:
            await asyncio.sleep(0.02)
        self.port = self._uvicorn.servers[0].sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Break what is open, and listen no longer."""
        self._uvicorn.should_exit = self._uvicorn.force_exit = True
        await asyncio.to_thread(self._thread.join, 10)

    def break_calls(self, kind: str, share: float, seed: int) -> None:
        """Break a share of the calls from now on."""
        self._choose = random.Random(seed)
        self._kind, self._share = kind, share

    def pass_all(self) -> None:
        """Break nothing any more."""
        self._kind = ""

    async def _pass(self, request: Request) -> Response:
        try:
            return await self._pass_or_break(request)
        except (ClientDisconnect, httpx.HTTPError):
            return Response(status_code=502)  # nobody hears it, or there is nothing to tell

    async def _pass_or_break(self, request: Request) -> Response:
        kind = self._kind if self._choose.random() < self._share else ""
        if kind == "api_conflicts" and request.method == "GET":
            kind = ""  # reading conflicts with nothing
        if not kind:
            self.hit["passed on"] += 1
        else:
            self.hit[f"{kind} {request.method}"] += 1
        if kind in ("api_conflicts", "api_busy", "api_broken"):
            return _refused(_STATUS[kind])
        late = self._choose.uniform(*_LATE_SECONDS) if kind == "api_late" else 0.0
        before = self._choose.random() < 0.5
        await asyncio.sleep(late if before else 0)
        answer = await self._ask(request)
        await asyncio.sleep(0 if before else late)
        if kind == "api_lost" and "watch" not in request.query_params:
            await answer.aclose()
            return _refused(_STATUS[kind])
        return StreamingResponse(
            _body(answer),
            answer.status_code,
            {"content-type": answer.headers.get("content-type", "application/json")},
        )

    async def _ask(self, request: Request) -> httpx.Response:
        if self._http is None:
            limits = httpx.Limits(max_connections=None)
            timeout = httpx.Timeout(_ANSWER_SECONDS)
            self._http = httpx.AsyncClient(
                base_url=self._server,
                verify=self._tls,
                timeout=timeout,
                limits=limits,
                trust_env=False,
            )
        headers = {name: value for name, value in request.headers.items() if name in _KEPT}
        asked = self._http.build_request(
            request.method,
            request.url.path,
            params=request.query_params.multi_items(),
            headers=headers,
            content=await request.body(),
        )
        return await self._http.send(asked, stream=True)


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.aiter_bytes():
            yield piece
    finally:
        await answer.aclose()


def _refused(status: int) -> Response:
    body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
    body |= {"code": status, "reason": _REASON[status], "message": "Broken on the way."}
    return Response(json.dumps(body), status, {"retry-after": "1"}, "application/json")
