"""The provider for Inspect: real evals with a scripted model, and what its suite does not ask."""

from __future__ import annotations

import asyncio
import importlib
import tomllib
from pathlib import Path

import pytest
from inspect_ai import Task, eval_async
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, accuracy, scorer
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import bash
from inspect_ai.util import (
    OutputLimitExceededError,
    SandboxEnvironmentSpec,
    SandboxUnavailableError,
    SandboxUserUnsupportedError,
    override_sandbox_output_limit,
    sandbox,
)
from inspect_ai.util._sandbox.registry import registry_find_sandboxenv
from tests.adapters.conftest import KEY

from oneseek_sandbox.adapters.inspect_ai import OneSeekSandboxConfig, OneSeekSandboxEnvironment
from oneseek_sandbox.client.remote import RemoteSandboxes

# Inspect leaves a stream of anyio to the garbage collector after each eval.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
    pytest.mark.usefixtures("collected"),
]

PROGRAM = "print(sum(int(line) for line in open('numbers')))\n"


@pytest.fixture(scope="module")
def wide_server(new_server):
    return new_server(key=KEY, settings={"PROVISIONER_FILE_SCOPE": "sandbox"})


@pytest.fixture
async def remote(wide_server):
    async with RemoteSandboxes(wide_server.url, KEY) as sandboxes:
        yield sandboxes


@pytest.fixture
async def environment(remote, request):
    acquired = await remote.acquire(f"inspect-{request.node.name}"[:256])
    yield OneSeekSandboxEnvironment(remote, acquired.sandbox_id)
    await remote.release(thread_id=acquired.thread_id)


@pytest.fixture
def settings(wide_server, monkeypatch):
    monkeypatch.setenv("SANDBOX_MODE", "provisioner")
    monkeypatch.setenv("SANDBOX_PROVISIONER_URL", wide_server.url)
    monkeypatch.setenv("SANDBOX_PROVISIONER_API_KEY", KEY)
    monkeypatch.setenv("INSPECT_DISPLAY", "none")


@scorer(metrics=[accuracy()])
def file_holds_target():
    async def score(state, target):
        answer = await sandbox().read_file("answer")
        return Score(value=answer.strip() == target.text, answer=answer)

    return score


def summing(sandbox, *, command="python3 sum.py > answer && cat answer"):
    """A task of two samples, whose model runs the program that the sample brought."""
    samples = [
        Sample(
            input="Run sum.py.",
            target=str(sum(numbers)),
            files={"numbers": "\n".join(map(str, numbers)), "sum.py": PROGRAM},
            setup="test -f sum.py && echo ready > /tmp/ready",
        )
        for numbers in ((1, 2, 3), (40, 2))
    ]
    return Task(
        dataset=samples,
        solver=[use_tools(bash(timeout=30)), generate()],
        scorer=file_holds_target(),
        sandbox=sandbox,
    ), command


async def outcome(task_and_command, tmp_path, **options):
    task, command = task_and_command
    said = [
        output
        for _ in task.dataset
        for output in (
            ModelOutput.for_tool_call("mockllm/model", "bash", {"command": command}),
            ModelOutput.from_content("mockllm/model", "Done."),
        )
    ]
    for output in said:
        output.usage = ModelUsage()  # else tokens are counted, by a vocabulary from the internet
    (log,) = await eval_async(
        task,
        model=get_model("mockllm/model", custom_outputs=said),
        log_dir=str(tmp_path),
        max_samples=1,  # the outputs are in order
        **options,
    )
    return log


async def test_an_eval_runs_its_samples_in_sandboxes_and_ends_them(settings, remote, tmp_path):
    log = await outcome(summing("oneseek"), tmp_path)
    assert log.status == "success", log.error
    assert log.results.scores[0].metrics["accuracy"].value == 1
    told = [m.text for s in log.samples for m in s.messages if m.role == "tool"]
    assert told == ["6\n", "42\n"]
    assert (await remote.list_sandboxes()).sandboxes == []


async def test_a_task_may_configure_its_sandboxes_and_leave_them(settings, remote, tmp_path):
    config = OneSeekSandboxConfig(scope="evals", idle_timeout_seconds=60)
    spec = SandboxEnvironmentSpec("oneseek", config)
    log = await outcome(summing(spec), tmp_path, sandbox_cleanup=False)
    assert log.eval.sandbox == spec
    left = (await remote.list_sandboxes()).sandboxes
    assert {s.scope for s in left} == {"evals"}
    assert len(left) == 2
    await OneSeekSandboxEnvironment.cli_cleanup(left[0].sandbox_id)
    assert len((await remote.list_sandboxes()).sandboxes) == 1
    await OneSeekSandboxEnvironment.cli_cleanup(None)
    assert (await remote.list_sandboxes()).sandboxes == []


async def test_a_configuration_that_is_none_of_ours_fails_the_task(settings, tmp_path):
    with pytest.raises(TypeError, match="OneSeekSandboxConfig"):
        await outcome(summing(("oneseek", "compose.yaml")), tmp_path)


async def test_a_sandbox_that_is_gone_is_told_as_unavailable(environment, remote):
    await remote.release(sandbox_id=environment.sandbox_id)
    for work in (
        environment.exec(["true"]),
        environment.read_file("f"),
        environment.write_file("f", ""),
    ):
        with pytest.raises(SandboxUnavailableError):
            await work


async def test_a_sandbox_that_goes_during_a_command_is_told_as_unavailable(environment, remote):
    running = asyncio.create_task(environment.exec(["sh", "-c", "touch begun; sleep 60"]))
    async with asyncio.timeout(60):
        while not (await environment.exec(["test", "-f", "begun"])).success:
            await asyncio.sleep(0.05)
    await remote.release(sandbox_id=environment.sandbox_id)
    with pytest.raises(SandboxUnavailableError):
        await running


async def test_nobody_becomes_another_user(environment):
    with pytest.raises(SandboxUserUnsupportedError, match="root"):
        await environment.exec(["true"], user="root")


async def test_output_over_the_limit_is_told_with_what_there_is(environment):
    with (
        override_sandbox_output_limit(1000, "exec"),
        pytest.raises(OutputLimitExceededError) as told,
    ):
        await environment.exec(["sh", "-c", "yes | head -c 2000"])
    assert told.value.truncated_output.startswith("y\ny\n")


async def test_bytes_that_are_not_utf8_are_replaced_in_output_and_refused_in_texts(environment):
    ran = await environment.exec(["printf", r"a\377"])
    assert ran.stdout == "a\ufffd"
    await environment.write_file("file", b"\xff")
    with pytest.raises(UnicodeDecodeError):
        await environment.read_file("file")


async def test_a_large_input_leaves_no_file(environment):
    ran = await environment.exec(
        ["sh", "-c", "wc -c; ls -A"], input=b"\xff" * 5_000_000, cwd="/workspace"
    )
    assert ran.stdout.split()[0] == "5000000"
    assert (await environment.exec(["ls", "-A"])).stdout == ""
    missing = await environment.exec(["no-such-program"], input=b"a" * 5_000_000)
    assert missing.returncode == 127


async def test_line_ends_are_kept(environment):
    await environment.write_file("folder/file", "a\r\nb\n")
    assert await environment.read_file("folder/../folder/file") == "a\r\nb\n"


def test_the_entry_point_registers_it():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (entry,) = project["entry-points"]["inspect_ai"].items()
    package, (module, _, name) = entry[0], entry[1].partition(":")
    assert package == module.split(".")[0]  # by which Inspect looks for a name with a package
    assert getattr(importlib.import_module(module), name) is registry_find_sandboxenv("oneseek")
