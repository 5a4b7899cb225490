"""What an MCP client is told while it waits for a tool: that time passes, and what was printed last."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

__all__ = ["LONGEST_MESSAGE", "Progress", "message"]

LONGEST_MESSAGE: Final = 200
_QUIET_SECONDS: Final = 5.0
# Colours and movements of a terminal: CSI, OSC with its end, and the short ones.
_ESCAPES: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]"
)


class Progress:
    """Sends the progress of one call, which strictly rises: the seconds that it has lasted.

    A line that has not changed is sent again every few seconds, so that clients whose patience
    begins anew with each message keep it.
    """

    def __init__(self, context: ServerRequestContext[Any]) -> None:
        self._session = context.session
        self._began = time.monotonic()
        self._sent = 0.0
        self._message = ""

    @classmethod
    def wanted(cls, context: ServerRequestContext[Any]) -> Progress | None:
        """Return that of a call; None when its client has not asked for any."""
        token = (context.meta or {}).get("progress_token")
        return None if token is None else cls(context)

    async def tell(self, line: str) -> None:
        """Tell the last line that a command has printed; called at most once a second."""
        text = message(line)
        lasted = round(time.monotonic() - self._began, 1)
        if lasted <= self._sent or (text == self._message and lasted - self._sent < _QUIET_SECONDS):
            return
        self._sent, self._message = lasted, text
        await self._session.report_progress(lasted, message=text or None)


def message(line: str) -> str:
    """Return a line as a message: without control characters, of at most LONGEST_MESSAGE characters."""
    plain = _ESCAPES.sub("", line).replace("\t", " ")
    text = "".join(character for character in plain if character.isprintable()).strip()
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"
