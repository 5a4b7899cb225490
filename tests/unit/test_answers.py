"""What the worker says, made into answers."""

from __future__ import annotations

import base64
import json

import pytest

from oneseek_sandbox.control import translation as answers
from oneseek_sandbox.errors import SandboxUnavailableError
from oneseek_sandbox.models import ExecuteAnswer, ExecuteRequest
from oneseek_sandbox.settings import Settings
from oneseek_sandbox.workers.replies import Exit, Kept, parse


def exited(**streams):
    nothing = Kept(head=b"", tail=b"", bytes=0)
    return Exit(
        exit_code=0,
        timed_out=False,
        killed_by=None,
        duration_ms=1,
        background=False,
        **{"stdout": nothing, "stderr": nothing} | streams,
    )


def in_base64(content):
    return base64.b64encode(content)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_truncated_output_in_base64_is_head_and_tail_and_nothing_else(stream):
    cut = Kept(head=in_base64(b"\xf0\x9f"), tail=in_base64(b"\x98\x80"), bytes=1000)
    end = exited(**{stream: cut})
    request = ExecuteRequest(thread_id="t", command="x", encoding="base64")
    answer = answers.executed(end, request, Settings.model_validate({}))
    assert base64.b64decode(getattr(answer, stream)) == b"\xf0\x9f\x98\x80"
    assert getattr(answer, f"{stream}_truncated")
    assert getattr(answer, f"{stream}_bytes") == 1000


def of_newer_worker(**fields):
    nothing = {"head": "", "tail": "", "bytes": 0}
    end = {"exit_code": 137, "timed_out": False, "duration_ms": 1, "background": False}
    return json.dumps({**end, "stdout": nothing, "stderr": nothing, **fields})


def test_what_a_newer_worker_gives_as_a_reason_reaches_an_older_client():
    end = parse(Exit, of_newer_worker(killed_by="network_limit", connections=3))
    request = ExecuteRequest(thread_id="t", command="x")
    answer = answers.executed(end, request, Settings.model_validate({}))
    read = ExecuteAnswer.model_validate_json(answer.model_dump_json())
    assert (read.killed_by, read.exit_code) == ("network_limit", 137)


@pytest.mark.parametrize("reason", ["", "x" * 33, "end it\n", "<b>", 7, ["timeout"]])
def test_a_reason_that_is_no_word_is_not_one_of_a_worker(reason):
    with pytest.raises(SandboxUnavailableError):
        parse(Exit, of_newer_worker(killed_by=reason))
