"""The tools as a model calls them, on real sandboxes."""

from __future__ import annotations

import json

import httpx
import pytest
from tests.agent_tools.conftest import SMALL

from oneseek_sandbox import errors
from oneseek_sandbox.agent_tools import (
    READ_ONLY_TOOLS,
    Image,
    SandboxTools,
    ToolError,
    ToolsOfThreads,
    choose_tools,
    function_schemas,
)
from oneseek_sandbox.agent_tools.images import LARGEST_IMAGE_BYTES
from oneseek_sandbox.client import BackendSettings, ThreadSandbox
from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.testing.scripted_model import GREEN, play

F = "/workspace/f"


async def test_a_model_writes_a_program_reads_its_failure_and_fixes_it(tools):
    said, results = await play(tools.call)
    assert said == GREEN
    assert "AssertionError: 1.5 != 2" in results[3]
    assert results[5].startswith("Error (text_not_found)")
    assert results[6] == "Replaced 1 occurrence in /workspace/project/average.py."


async def test_no_sandbox_is_made_before_the_first_call(sandboxes, sandbox):
    tools = SandboxTools(sandbox)
    await tools.call("sandbox_ls", {"pth": "/workspace"})
    assert sandbox.acquired is None
    assert await tools.call("sandbox_ls") == "(empty)"
    assert sandbox.acquired is not None


@pytest.mark.parametrize("arguments", [{"command": "echo hi"}, '{"command": "echo hi"}'])
async def test_arguments_may_be_an_object_or_its_json(tools, arguments):
    assert await tools.call("sandbox_execute", arguments) == "exit code: 0\nhi"


async def test_null_stands_for_what_is_left_out(tools):
    text = await tools.call(
        "sandbox_execute", {"command": "pwd", "cwd": None, "timeout_seconds": None}
    )
    assert text == "exit code: 0\n/workspace"
    assert await tools.call("sandbox_ls", {"path": None, "depth": None}) == "(empty)"


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("sandbox_exec", {}, "There are: sandbox_execute, sandbox_ls"),
        ("sandbox_execute", {}, "command: is required"),
        ("sandbox_execute", {"cmd": "ls"}, "takes: command; if wanted cwd, timeout_seconds."),
        ("sandbox_execute", {"command": None}, "command: "),
        ("sandbox_execute", {"command": "ls", "timeout_seconds": "30"}, "timeout_seconds: "),
        ("sandbox_execute", {"command": "ls", "thread_id": "other"}, "thread_id: no such field"),
        ("sandbox_execute", "not json", "not JSON"),
        ("sandbox_execute", "[1]", "not a JSON object"),
        ("sandbox_execute", "[" * 100_000, "not JSON"),
        ("sandbox_ls", '{"depth": ' + "9" * 5000 + "}", "not JSON"),
        ("sandbox_write_file", '{"path": "/workspace/f", "content": "a', "not JSON"),
        ("sandbox_read_file", {"path": F, "start_line": 0}, "start_line: "),
        ("sandbox_release", {"really": True}, "sandbox_release takes: nothing."),
    ],
)
async def test_a_wrong_call_is_told_what_is_right(tools, name, arguments, told):
    result = await tools.run(name, arguments)
    assert result.is_error
    assert result.answer is None
    assert result.text.startswith("Error (")
    assert told in result.text


async def test_files_are_written_added_to_read_listed_and_replaced(tools):
    assert await tools.call("sandbox_write_file", {"path": F, "content": "one\n"}) == (
        "Created /workspace/f, 4 bytes."
    )
    assert await tools.call(
        "sandbox_write_file", {"path": F, "content": "two\n", "append": True}
    ) == ("Added to /workspace/f; it has 8 bytes now.")
    assert await tools.call("sandbox_read_file", {"path": F}) == "one\ntwo\n"
    assert await tools.call("sandbox_read_file", {"path": F, "start_line": 2}) == (
        "two\n[Lines 2 to 2 of 2.]"
    )
    assert await tools.call("sandbox_ls") == "/workspace/f  8"
    assert await tools.call("sandbox_write_file", {"path": F, "content": ""}) == (
        "Replaced all of /workspace/f; it has 0 bytes now."
    )
    assert await tools.call("sandbox_read_file", {"path": F}) == "(empty)"
    assert await tools.call("sandbox_read_file", {"path": F, "start_line": 5}) == "(empty)"


async def test_what_a_file_says_is_never_taken_for_an_error(tools):
    await tools.call("sandbox_write_file", {"path": F, "content": "Error (capacity): no\n"})
    result = await tools.run("sandbox_read_file", {"path": F})
    assert not result.is_error
    assert result.answer.content == result.text == "Error (capacity): no\n"


async def test_a_command_that_fails_was_done_and_its_answer_is_there_for_programs(tools):
    result = await tools.run("sandbox_execute", {"command": "echo no >&2; exit 3"})
    assert not result.is_error
    assert result.answer.exit_code == 3
    assert result.text == "exit code: 3\n--- stderr ---\nno"


async def test_a_command_that_names_no_limit_has_the_settings(sandbox):
    tools = SandboxTools(sandbox, BackendSettings(sandbox_timeout_seconds=0.5))
    text = await tools.call("sandbox_execute", {"command": "echo begun; sleep 50"})
    assert text.startswith("exit code: 124 (timed out after 0.5 s)\nbegun\n[")
    assert "Raise timeout_seconds" in text


async def test_long_output_is_cut_and_can_be_read_in_parts(tools):
    text = await tools.call("sandbox_execute", {"command": "seq 100000 | tee log"})
    assert len(text) < 2700
    assert "99999\n100000\n[The middle of stdout was left out; 588895 bytes" in text
    text = await tools.call("sandbox_read_file", {"path": "/workspace/log", "start_line": 5000})
    assert text.startswith("5000\n5001\n")
    assert "of 100000 are shown. Go on with start_line=5" in text
    assert len(text) < 2200


async def test_output_that_is_no_text_stays_bounded(tools):
    text = await tools.call(
        "sandbox_execute", {"command": "head -c 1500 /dev/zero | tr '\\0' '\\377'"}
    )
    assert len(text) < 2700
    assert "\\xff" in text


async def test_a_long_list_goes_on_where_it_was_cut(tools):
    await tools.call(
        "sandbox_execute", {"command": "mkdir many; cd many; seq -w 300 | xargs touch"}
    )
    seen, cursor = [], None
    while True:
        text = await tools.call("sandbox_ls", {"path": "/workspace/many", "cursor": cursor})
        assert len(text) < 2700
        seen += [line.split()[0] for line in text.splitlines() if line.startswith("/")]
        if "cursor=" not in text:
            break
        cursor = text.rpartition('cursor="')[2].removesuffix('".]')
    assert seen == [f"/workspace/many/{n:03}" for n in range(1, 301)]


async def test_a_binary_file_is_not_poured_into_the_context(tools):
    await tools.call("sandbox_execute", {"command": "head -c 5000 /dev/urandom > f"})
    text = await tools.call("sandbox_read_file", {"path": F})
    assert "[/workspace/f is not text: 5000 bytes" in text
    assert len(text) < 300


@pytest.mark.parametrize(
    ("name", "arguments", "code", "told"),
    [
        ("sandbox_read_file", {"path": "/workspace/no"}, "file_not_found", "sandbox_ls"),
        ("sandbox_read_file", {"path": "/etc/passwd"}, "path_outside_workspace", "absolute"),
        ("sandbox_read_file", {"path": "/workspace"}, "is_a_directory", "sandbox_ls"),
        ("sandbox_execute", {"command": "ls", "timeout_seconds": 1e9}, "invalid_request", "limit"),
    ],
)
async def test_an_error_says_what_to_do_next(tools, name, arguments, code, told):
    result = await tools.run(name, arguments)
    assert result.is_error
    assert result.error.code == code
    assert result.text.startswith(f"Error ({code}): ")
    assert told in result.text


async def test_a_lost_sandbox_is_told_once_and_the_next_call_works(sandboxes, sandbox, tools):
    await tools.call("sandbox_write_file", {"path": F, "content": "x"})
    await sandboxes.release(sandbox_id=sandbox.acquired.sandbox_id)
    result = await tools.run("sandbox_execute", {"command": "ls"})
    assert isinstance(result.error, errors.SandboxReplacedError)
    assert "the files of before are gone" in result.text
    assert "The call was not done" in result.text
    assert await tools.call("sandbox_execute", {"command": "ls"}) == "exit code: 0\n(no output)"


async def test_a_release_ends_it_and_the_next_call_begins_anew(tools):
    assert await tools.call("sandbox_release") == "There was no sandbox; nothing was released."
    await tools.call("sandbox_write_file", {"path": F, "content": "x"})
    assert (
        await tools.call("sandbox_release", "{}") == "Released: its files and processes are gone."
    )
    assert await tools.call("sandbox_ls") == "(empty)"


async def test_a_framework_may_have_exceptions(sandbox):
    tools = SandboxTools(sandbox, raise_errors=True)
    with pytest.raises(ToolError, match=r"Error \(file_not_found\)") as caught:
        await tools.call("sandbox_read_file", {"path": F})
    assert isinstance(caught.value.__cause__, errors.WorkspaceFileNotFoundError)
    assert caught.value.result.is_error
    with pytest.raises(ToolError, match="There is no tool 'rm'"):
        await tools.call("rm")


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (429, {"code": "capacity", "message": "100 of 100."}, "in 7 s at the earliest"),
        (401, {"code": "unauthenticated", "message": "No."}, "trying again does not help"),
    ],
)
async def test_a_refusal_of_the_service_is_told(status, body, told):
    def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(
            status, text=json.dumps({"error": body}), headers={"retry-after": "7"}
        )

    transport = httpx.MockTransport(refuse)
    async with RemoteSandboxes("http://s", retry_seconds=0, transport=transport) as sandboxes:
        text = await SandboxTools(ThreadSandbox(sandboxes, "t")).call("sandbox_ls")
    assert text.startswith(f"Error ({body['code']}): {body['message']} ")
    assert told in text


async def test_a_setting_over_the_servers_limit_is_not_the_models_mistake(new_server):
    limits = {"PROVISIONER_MAX_OUTPUT_BYTES": "5000", "PROVISIONER_OUTPUT_LIMIT_BYTES": "5000"}
    server = new_server(settings=limits)
    async with RemoteSandboxes(server.url) as sandboxes:
        tools = SandboxTools(ThreadSandbox(sandboxes, "t"), BackendSettings())
        text = await tools.call("sandbox_execute", {"command": "true"})
    assert "The backend's sandbox_max_output_bytes is over that" in text
    assert "tell the user" in text


async def test_each_thread_has_its_own_tools_and_keeps_them(sandboxes):
    tools = ToolsOfThreads(sandboxes)
    assert tools.of("a") is tools.of("a")
    assert tools.of("a") is not tools.of("b")
    assert tools.of("a") is not tools.of("a", scope="tenant")
    assert tools.of("a", scope="tenant").sandbox.scope == "tenant"


async def test_a_tool_that_is_not_offered_cannot_be_called(sandbox):
    tools = SandboxTools(sandbox, tools=READ_ONLY_TOOLS)
    said = await tools.call("sandbox_execute", {"command": "true"})
    assert said.endswith("There are: sandbox_ls, sandbox_read_file.")
    assert sandbox.acquired is None
    assert await tools.call("sandbox_ls") == "(empty)"


def test_tools_are_offered_in_their_usual_order():
    chosen = ["sandbox_release", "sandbox_ls"]
    assert list(choose_tools(chosen)) == ["sandbox_ls", "sandbox_release"]
    names = [schema["function"]["name"] for schema in function_schemas(chosen)]
    assert names == ["sandbox_ls", "sandbox_release"]


@pytest.mark.parametrize("names", [["sandbox_rm"], "sandbox_rm", []])
def test_a_choice_of_no_tool_is_refused_with_the_names_there_are(names):
    with pytest.raises(errors.InvalidRequestError, match="sandbox_execute, sandbox_ls"):
        choose_tools(names)


PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8ff"
    "ff3f0005fe02fe0def46b80000000049454e44ae426082"
)


@pytest.mark.parametrize("more", [0, 100_000])
async def test_an_image_is_read_whole_where_images_are_asked_for(sandbox, more):
    data = PIXEL + bytes(more)
    await sandbox.upload(F, data)
    result = await SandboxTools(sandbox, SMALL, images=True).run("sandbox_read_file", {"path": F})
    assert result.image == Image(data, "image/png")
    assert result.text == f"[/workspace/f is an image: image/png, {len(data)} bytes.]"
    plain = await SandboxTools(sandbox, SMALL).run("sandbox_read_file", {"path": F})
    assert plain.image is None
    assert "is not text" in plain.text


async def test_an_image_that_no_model_takes_is_named_only(sandbox):
    await sandbox.upload(F, PIXEL)
    grow = f"truncate -s {LARGEST_IMAGE_BYTES + 1} {F}"
    assert (await sandbox.execute(grow)).exit_code == 0
    result = await SandboxTools(sandbox, images=True).run("sandbox_read_file", {"path": F})
    assert result.image is None
    assert f"is not text: {LARGEST_IMAGE_BYTES + 1} bytes" in result.text
