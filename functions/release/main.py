"""Function `release`: end a sandbox.

Trigger: HTTP. Key: any. Control plane: may end sandboxes.
"""

from functions_framework import aio
from starlette.requests import Request
from starlette.responses import Response

from oneseek_sandbox.http.function import serve_verb


@aio.http
async def release(request: Request) -> Response:
    """Answer whether this call ended the sandbox."""
    return await serve_verb("release", request)
