"""Function `execute`: run one command in a sandbox.

Trigger: HTTP. Key: any. Data plane: knows the store and the worker's address only.
"""

from functions_framework import aio
from starlette.requests import Request
from starlette.responses import Response

from oneseek_sandbox.http.function import serve_verb


@aio.http
async def execute(request: Request) -> Response:
    """Answer with the command's exit code and output, at its end or as a stream of events."""
    return await serve_verb("execute", request)
