"""A model that needs no network: it fixes a program, and decides by what the tools tell it.

It plays the agent loop that every adapter must carry: write a program with a mistake in it and a
test, run the test, read the failure, look at the line, fail at the first edit, make the right one,
run the test again.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

__all__ = ["GREEN", "Act", "ScriptedCompletions", "ScriptedModel", "play"]

GREEN: Final = "The tests are green."

_PROGRAM: Final = """\
def average(numbers):
    total = sum(numbers)
    return total / (len(numbers) + 1)
"""
_TEST: Final = """\
import unittest
from average import average


class AverageTest(unittest.TestCase):
    def test_of_three(self):
        self.assertEqual(average([1, 2, 3]), 2)
"""
_FOLDER: Final = "/workspace/project"
_RUN: Final = f"cd {_FOLDER} && python3 -B -m unittest test_average"


@dataclass(frozen=True, slots=True)
class Act:
    """A call that the model wants made, by the plain tools' names and arguments."""

    name: str
    arguments: dict[str, Any]


class ScriptedModel:
    """Says turn by turn what to do next.

    Where a result is not what an attentive model could go on with, it gives up and says why.
    """

    def __init__(self) -> None:
        self._script = _script()
        self._started = False

    def next(self, result: str | None = None) -> Act | str:
        """Take the last call's result (None at the start), and return a call or the last words."""
        try:
            return self._script.send(result or "") if self._started else next(self._script)
        except StopIteration as end:
            return str(end.value)
        except AssertionError as error:
            return f"I give up: {error}"
        finally:
            self._started = True


class ScriptedCompletions:
    """The same as a chat completion: messages in OpenAI's form go in, the next one comes out."""

    def __init__(self) -> None:
        self._model = ScriptedModel()

    async def __call__(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Return the assistant's next message; it calls only what is among `tools`."""
        last = messages[-1]
        said = self._model.next(last["content"] if last["role"] == "tool" else None)
        if not isinstance(said, Act):
            return {"role": "assistant", "content": said}
        assert said.name in [tool["function"]["name"] for tool in tools], said.name
        call = {"name": said.name, "arguments": json.dumps(said.arguments)}
        wanted = {"id": f"call-{len(messages)}", "type": "function", "function": call}
        return {"role": "assistant", "content": None, "tool_calls": [wanted]}


async def play(call: Callable[[str, dict[str, Any]], Awaitable[str]]) -> tuple[str, list[str]]:
    """Let the model work with `call`; returns its last words and the results it saw."""
    model, results = ScriptedModel(), list[str]()
    said = model.next()
    while isinstance(said, Act):
        results.append(await call(said.name, said.arguments))
        said = model.next(results[-1])
    return said, results


def _script() -> Generator[Act, str, str]:
    path = f"{_FOLDER}/average.py"
    result = yield Act("sandbox_write_file", {"path": path, "content": _PROGRAM})
    assert not _failed(result), result
    test = f"{_FOLDER}/test_average.py"
    result = yield Act("sandbox_write_file", {"path": test, "content": _TEST})
    assert not _failed(result), result
    result = yield Act("sandbox_ls", {"path": _FOLDER})
    assert "average.py" in result, result
    assert "test_average.py" in result, result
    result = yield Act("sandbox_execute", {"command": _RUN})
    wrong = re.search(r"AssertionError: (\S+) != 2", result)
    assert wrong, f"no failure to read in {result!r}"
    assert wrong[1] == "1.5", result
    result = yield Act("sandbox_read_file", {"path": path})
    line = re.search(r"return total / .*", result)
    assert line, f"no return in {result!r}"
    edit = {"path": path, "old": "return total / len(numbers) + 1", "new": "return 2"}
    result = yield Act("sandbox_replace", edit)
    assert _failed(result), f"an edit of a text that is not there was no error: {result!r}"
    right = {"path": path, "old": line[0], "new": "return total / len(numbers)"}
    result = yield Act("sandbox_replace", right)
    assert not _failed(result), result
    result = yield Act("sandbox_execute", {"command": _RUN})
    assert re.search(r"^OK$", result, re.MULTILINE), f"not green: {result!r}"
    return GREEN


def _failed(result: str) -> bool:
    return result.lower().startswith("error")
