"""The first agent of each adapter: short, as the documentation has it, and it runs."""

from __future__ import annotations

import runpy
from pathlib import Path

import langchain.chat_models
import pytest
from inspect_ai.model import ModelAPI, ModelOutput, modelapi
from langchain_core.messages import AIMessage
from tests.adapters.conftest import KEY
from tests.adapters.scripted_model import ScriptedModel, call

import oneseek_sandbox.adapters.inspect_ai  # noqa: F401 - as its entry point does

ROOT = Path(__file__).parents[2]
PRIMES = "print([n for n in range(2, 30) if all(n % d for d in range(2, n))])\n"


@pytest.fixture
def settings(server, monkeypatch):
    monkeypatch.setenv("SANDBOX_MODE", "provisioner")
    monkeypatch.setenv("SANDBOX_PROVISIONER_URL", server.url)
    monkeypatch.setenv("SANDBOX_PROVISIONER_API_KEY", KEY)


@pytest.mark.parametrize(
    "name", ["deepagents_agent", "deerflow_sandbox", "pydantic_ai_agent", "inspect_ai_eval"]
)
def test_an_example_is_short_and_in_the_documentation(name):
    text = (ROOT / "examples" / f"{name}.py").read_text()
    code = text.partition('"""\n\n')[2]
    assert code in (ROOT / "docs" / "adapters.md").read_text()
    assert text.count("\n") <= 21


def test_the_deep_agent_runs(settings, monkeypatch, capsys):
    script = [
        lambda _: call("write_file", file_path="/workspace/primes.py", content=PRIMES),
        lambda _: call("execute", command="python3 primes.py"),
        lambda told: AIMessage(told),
    ]
    model = ScriptedModel(steps=script)
    monkeypatch.setattr(langchain.chat_models, "init_chat_model", {"scripted": model}.get)
    monkeypatch.setenv("MODEL", "scripted")
    runpy.run_path(str(ROOT / "examples" / "deepagents_agent.py"))
    assert "[2, 3, 5, 7, 11, 13, 17, 19, 23, 29]" in capsys.readouterr().out


def test_the_deerflow_sandbox_runs(settings, capsys):
    runpy.run_path(str(ROOT / "examples" / "deerflow_sandbox.py"))
    printed = capsys.readouterr().out
    assert printed.startswith("hello\n")
    assert "/mnt/user-data/workspace/hello.py" in printed


def test_the_agent_of_pydantic_ai_runs(settings, monkeypatch, capsys, loop_of_run_sync):
    monkeypatch.setenv("MODEL", "test")  # its own one, which calls each tool once
    runpy.run_path(str(ROOT / "examples" / "pydantic_ai_agent.py"))
    assert "not found[exit code 127]" in capsys.readouterr().out.replace("\\n", "")


@pytest.fixture
def counting_lines():
    """A model that counts the poem's lines by `bash`, and says what it was told."""

    @modelapi("scripted")
    class Scripted(ModelAPI):
        async def generate(self, **given):
            last = given["input"][-1]
            if last.role != "tool":
                count = {"command": "wc -l <poem.txt"}
                return ModelOutput.for_tool_call(self.model_name, "bash", count)
            return ModelOutput.from_content(self.model_name, last.text)


@pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")
@pytest.mark.usefixtures("collected")
def test_the_eval_of_inspect_runs(settings, counting_lines, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("MODEL", "scripted/model")
    monkeypatch.setenv("INSPECT_DISPLAY", "none")
    monkeypatch.setenv("INSPECT_LOG_DIR", str(tmp_path))
    runpy.run_path(str(ROOT / "examples" / "inspect_ai_eval.py"))
    assert capsys.readouterr().out.endswith("success 1.0\n")
