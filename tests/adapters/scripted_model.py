"""A chat model that plays a script: the same tool calls as a real one's, without a network."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr

Step = Callable[[str], AIMessage]


def call(tool: str, **arguments: Any) -> AIMessage:
    """Return a message that calls one tool."""
    return AIMessage("", tool_calls=[{"name": tool, "args": arguments, "id": uuid.uuid4().hex}])


class ScriptedModel(BaseChatModel):
    """Answers the n-th time with the n-th step, which gets the text of the last message.

    A step may assert what it was told: that is how a model "reads" an error.
    """

    steps: list[Step]
    _turn: int = PrivateAttr(0)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_: Any) -> ScriptedModel:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        step = self.steps[self._turn]
        self._turn += 1
        return ChatResult(generations=[ChatGeneration(message=step(str(messages[-1].content)))])
