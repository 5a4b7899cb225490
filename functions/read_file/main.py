"""Function `read_file`: read a file of the workspace.

Trigger: HTTP. Key: any. Data plane: knows the store and the worker's address only.
"""

from functions_framework import aio
from starlette.requests import Request
from starlette.responses import Response

from oneseek_sandbox.http.function import serve_verb


@aio.http
async def read_file(request: Request) -> Response:
    """Answer with a file's content, as JSON or as its bytes."""
    return await serve_verb("read_file", request)
