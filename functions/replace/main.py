"""Function `replace`: replace exact text in a file.

Trigger: HTTP. Key: any. Data plane: knows the store and the worker's address only.
"""

from functions_framework import aio
from starlette.requests import Request
from starlette.responses import Response

from oneseek_sandbox.http.function import serve_verb


@aio.http
async def replace(request: Request) -> Response:
    """Answer with how often the text was replaced."""
    return await serve_verb("replace", request)
