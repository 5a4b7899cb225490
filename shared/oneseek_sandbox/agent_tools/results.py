"""What a call of a tool comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel

    from oneseek_sandbox.agent_tools.images import Image
    from oneseek_sandbox.errors import SandboxError

__all__ = ["ToolError", "ToolResult"]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call came to.

    Attributes:
        text: For the model.
        is_error: The call was not done. A command that failed was done.
        answer: The service's answer; None for errors.
        error: Of an error that is the sandbox's; None when the model named no tool.
        image: The image that was read, where images were asked for.
    """

    text: str
    is_error: bool = False
    answer: BaseModel | None = None
    error: SandboxError | None = None
    image: Image | None = None


class ToolError(Exception):
    """Raised in place of an error result, where that was asked for.

    Attributes:
        result: The result; its text is this error's.
    """

    def __init__(self, result: ToolResult) -> None:
        super().__init__(result.text)
        self.result = result
