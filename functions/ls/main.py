"""Function `ls`: list a directory of the workspace.

Trigger: HTTP. Key: any. Data plane: knows the store and the worker's address only.
"""

from functions_framework import aio
from starlette.requests import Request
from starlette.responses import Response

from oneseek_sandbox.http.function import serve_verb


@aio.http
async def ls(request: Request) -> Response:
    """Answer with the entries of a directory."""
    return await serve_verb("ls", request)
