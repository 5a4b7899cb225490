"""Function `write_file`: write a file of the workspace.

Trigger: HTTP. Key: any. Data plane: knows the store and the worker's address only.
"""

from functions_framework import aio
from starlette.requests import Request
from starlette.responses import Response

from oneseek_sandbox.http.function import serve_verb


@aio.http
async def write_file(request: Request) -> Response:
    """Answer with what the file is after the write."""
    return await serve_verb("write_file", request)
