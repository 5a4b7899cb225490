"""Lines of an MCP client that the SDK cannot read: answered, where it would leave the client waiting."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

import anyio
import mcp_types as types
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

if TYPE_CHECKING:
    from types import TracebackType

    from mcp.shared._stream_protocols import ReadStream, WriteStream

__all__ = ["AnsweredLines"]

_NOT_TEXT = (
    "Error (invalid_request): An argument contains half of a surrogate pair (\\ud800 to \\udfff "
    "alone), which is not Unicode text. Nothing was done. Send whole characters."
)


class AnsweredLines:
    """What a client sent and could be read; the rest is answered on the way.

    The SDK hands a line that it cannot read on as an exception, and its server passes over those.
    """

    def __init__(
        self,
        lines: ReadStream[SessionMessage | Exception],
        answers: WriteStream[SessionMessage],
    ) -> None:
        self._lines = lines
        self._answers = answers

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message."""
        while True:
            message = await self._lines.receive()
            answer = _answer(message) if isinstance(message, ValidationError) else None
            if answer is None:
                return message
            await self._answers.send(SessionMessage(answer))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whose context a message came in
        return getattr(self._lines, name)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Take no more."""
        await self._lines.aclose()

    async def __aenter__(self) -> Self:
        await self._lines.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._lines.__aexit__(kind, error, traceback)


def _answer(error: ValidationError) -> types.JSONRPCResponse | types.JSONRPCError | None:
    """Return the answer to an unreadable line; None when it wants none."""
    line = error.errors(include_url=False)[0]["input"]
    try:
        message: Any = json.loads(line) if isinstance(line, str) else line
    except (ValueError, RecursionError):
        return _refusal(None, types.PARSE_ERROR, "This line is not JSON.")
    if not isinstance(message, dict):
        return _refusal(None, types.INVALID_REQUEST, "This line is not a JSON-RPC message.")
    number = message.get("id")
    if not isinstance(number, int | str) or isinstance(number, bool) or not _is_text(number):
        return (
            None
            if "method" in message
            else _refusal(None, types.INVALID_REQUEST, "This line is not a JSON-RPC message.")
        )
    if message.get("method") == "tools/call" and not _is_text(message):
        # As every other mistake in an argument: for the model to read.
        said = types.TextContent(type="text", text=_NOT_TEXT)
        result = types.CallToolResult(content=[said], is_error=True)
        written = result.model_dump(by_alias=True, mode="json", exclude_unset=True)
        return types.JSONRPCResponse(jsonrpc="2.0", id=number, result=written)
    return _refusal(number, types.INVALID_REQUEST, "This is not a JSON-RPC request in Unicode.")


def _refusal(number: int | str | None, code: int, message: str) -> types.JSONRPCError:
    error = types.ErrorData(code=code, message=message)
    return types.JSONRPCError(jsonrpc="2.0", id=number, error=error)


def _is_text(value: object) -> bool:
    """Return whether all strings in it are Unicode text: no half of a surrogate pair."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
