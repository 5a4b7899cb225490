"""The scripted model as a LangChain chat model, for every framework that takes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field, PrivateAttr

from oneseek_sandbox.testing.scripted_model import Act, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.callbacks import CallbackManagerForLLMRun
    from langchain_core.runnables import Runnable

__all__ = ["ScriptedChatModel"]


class ScriptedChatModel(BaseChatModel):
    """Plays one conversation.

    Attributes:
        translate: From the plain tools' call to the call of the tools that are tested.
        bound: The names of the tools that were bound, in order.
    """

    translate: Any = None
    bound: list[str] = Field(default_factory=list)
    _script: ScriptedModel = PrivateAttr(default_factory=ScriptedModel)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: object) -> Runnable[Any, AIMessage]:
        """Remember the tools; every other setting is of no use to a script."""
        del kwargs
        from langchain_core.utils.function_calling import convert_to_openai_tool

        self.bound[:] = [convert_to_openai_tool(tool)["function"]["name"] for tool in tools]
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        del stop, run_manager, kwargs
        last = messages[-1]
        said = self._script.next(str(last.content) if isinstance(last, ToolMessage) else None)
        message = AIMessage(said) if isinstance(said, str) else self._call(said, len(messages))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _call(self, act: Act, number: int) -> AIMessage:
        translate: Callable[[Act], Act] = self.translate or (lambda same: same)
        wanted = translate(act)
        call = {"name": wanted.name, "args": wanted.arguments, "id": f"call-{number}"}
        return AIMessage("", tool_calls=[call])
