"""Writes the blocking half of the client from the async one; a test compares the two.

Run it after a change of `Sandboxes`, `ThreadSandbox` or `Wire`: python tools/blocking_client.py
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENT = Path(__file__).parents[1] / "shared" / "oneseek_sandbox" / "client"

CALLS = '''\
"""What the blocking client can do, call by call. Written by tools/blocking_client.py: do not edit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Unpack

    from oneseek_sandbox import models
    from oneseek_sandbox.client import fields as f
    from oneseek_sandbox.client.loop_thread import LoopThread
    from oneseek_sandbox.client.sandboxes import Sandboxes
    from oneseek_sandbox.client.streams import BlockingDownload, Gap, Output
    from oneseek_sandbox.client.thread import ThreadSandbox
    from oneseek_sandbox.client.uploads import Content

__all__ = ["SandboxesCalls", "ThreadSandboxCalls"]
'''
CLASS = '''

class {name}Calls:
    """The calls of `{name}`, each of which waits for its result."""

    def __init__(self, wrapped: {name}, loop: LoopThread) -> None:
        self._wrapped = wrapped
        self._loop = loop
'''
METHOD = """
    def {name}({parameters}) -> {returns}:
        {docstring}
        return self._loop.{way}(self._wrapped.{name}({arguments}))
"""
LIFE = {"open", "close"}
"""Written by hand: the loop begins and ends with them."""


WIRE: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (
        r'""".*?"""',
        '"""The way to one server, for code that waits. Written by tools/'
        'blocking_client.py: do not edit."""',
    ),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\bAsyncGenerator\[(\w+), None\]", r"Generator[\1, None, None]"),
    (r"\bAsync(Generator|Iterable|Iterator|Client|BaseTransport)\b", r"\1"),
    (r"\b(aclose|aiter_bytes)\b", lambda found: found[1].removeprefix("a")),
    (r"\bDownload\b", "BlockingDownload"),
    (r"\bfor (\w+) in (\S+):\n +yield \1\n", r"yield from \2\n"),
    (r"\bWire\b", "BlockingWire"),
)
"""What makes blocking code of the async: patterns and what takes their place, in this order."""


def written() -> dict[Path, str]:
    """Return the text of each module that is written, as ruff formats it."""
    calls = CALLS + _calls("sandboxes.py", "Sandboxes") + _calls("thread.py", "ThreadSandbox")
    wire = (CLIENT / "wire.py").read_text()
    for number, (pattern, instead) in enumerate(WIRE):
        wire = re.sub(pattern, instead, wire, count=int(number == 0), flags=re.DOTALL)
    texts = {"blocking_calls.py": calls, "blocking_wire.py": wire}
    return {CLIENT / name: _formatted(CLIENT / name, text) for name, text in texts.items()}


def _formatted(path: Path, text: str) -> str:
    for arguments in (["check", "--quiet", "--fix", "--select", "I"], ["format"]):
        ruff = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(path), "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout
    return text


def _calls(module: str, name: str) -> str:
    tree = ast.parse((CLIENT / module).read_text())
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    methods = [
        _method(node)
        for node in found.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and node.name not in LIFE
        and "property" not in map(ast.unparse, node.decorator_list)
    ]
    return CLASS.format(name=name) + "".join(methods)


def _method(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    returns = ast.unparse(node.returns) if node.returns else "None"
    docstring = ast.get_docstring(node, clean=False) or ""
    way = "run"
    if returns.startswith("AsyncGenerator["):
        way, returns = "iterate", returns.removeprefix("Async").replace(", None]", ", None, None]")
    elif "Download" in returns:
        way, returns = "downloading", "AbstractContextManager[BlockingDownload]"
    given = node.args
    arguments = [argument.arg for argument in given.args[1:]]
    arguments += [f"{argument.arg}={argument.arg}" for argument in given.kwonlyargs]
    arguments += [f"**{given.kwarg.arg}"] if given.kwarg else []
    return METHOD.format(
        name=node.name,
        parameters=ast.unparse(given),
        returns=returns,
        docstring=f'"""{docstring}"""',
        way=way,
        arguments=", ".join(arguments),
    )


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text)
