"""Function `acquire`: a thread's sandbox, reused or made.

Trigger: HTTP. Key: any; the list needs an operator's. Control plane: may make sandboxes.
"""

from functions_framework import aio
from starlette.requests import Request
from starlette.responses import Response

from oneseek_sandbox.http.function import serve_verb


@aio.http
async def acquire(request: Request) -> Response:
    """Answer `POST` with the thread's sandbox, and `GET` with the list of live ones."""
    return await serve_verb("acquire", request)
