"""A client over stdio gets an answer to every line, also to those that no message can be read from."""

from __future__ import annotations

import json
import os
import select
import subprocess

import pytest

pytest.importorskip("mcp")

from tests.agent_tools.mcp_servers import COMMAND

pytestmark = pytest.mark.finding(18)

START = {
    "jsonrpc": "2.0",
    "id": "start",
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@pytest.fixture
def client():
    """The process, and a call that sends a line as it is and returns the answer."""
    with subprocess.Popen(
        COMMAND,
        env=os.environ | {"SANDBOX_MODE": "provisioner"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:

        def answer_to(line):
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()
            readable, _, _ = select.select([process.stdout], [], [], 60)
            assert readable, f"no answer to {line}"
            return json.loads(process.stdout.readline())

        answer_to(json.dumps(START))
        process.stdin.write(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')
        yield answer_to
        process.kill()


def call(argument):
    arguments = f'{{"name": "sandbox_execute", "arguments": {{"command": {argument}}}}}'
    return f'{{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {arguments}}}'


@pytest.mark.parametrize("argument", ['"\\ud800"', '"\\udc00\\ud800"', '["echo", "a\\udfffb"]'])
def test_a_lone_surrogate_in_an_argument_is_an_error_that_a_model_can_read(client, argument):
    answer = client(call(argument))
    assert answer["id"] == 7
    assert answer["result"]["isError"] is True
    (content,) = answer["result"]["content"]
    assert content["text"].startswith("Error (invalid_request): ")


def test_a_whole_surrogate_pair_is_an_argument_like_any_other(client):
    answer = client(call('["\\ud83d\\ude00", 5]'))
    assert "surrogate" not in answer["result"]["content"][0]["text"]


@pytest.mark.parametrize(
    ("line", "number", "code"),
    [
        ("no JSON", None, -32700),
        ("[" * 5000, None, -32700),
        ("[1]", None, -32600),
        ('{"jsonrpc": "2.0", "id": 3}', 3, -32600),
        ('{"jsonrpc": "2.0", "id": 3, "method": "tools/list", "params": "\\ud800"}', 3, -32600),
        ('{"jsonrpc": "2.0", "id": "\\ud800"}', None, -32600),
    ],
)
def test_a_line_that_is_no_message_is_refused_and_the_next_is_answered(client, line, number, code):
    refused = client(line)
    assert (refused["id"], refused["error"]["code"]) == (number, code)
    listed = client('{"jsonrpc": "2.0", "id": 8, "method": "tools/list"}')
    assert (listed["id"], "tools" in listed["result"]) == (8, True)
