"""Function `cleanup_idle`: end idle sandboxes, on a plain POST or a CloudEvent.

Trigger: HTTP or CloudEvent. Key: an operator's. Control plane: may make and end sandboxes.
"""

from functions_framework import aio
from starlette.requests import Request
from starlette.responses import Response

from oneseek_sandbox.http.function import serve_verb


@aio.http
async def cleanup_idle(request: Request) -> Response:
    """Answer a POST with what was cleaned up, and a CloudEvent with 204."""
    return await serve_verb("cleanup_idle", request)
