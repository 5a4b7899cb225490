"""Log lines are JSON, tell whose call they are of, and keep no call waiting."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import time

import pytest

from oneseek_sandbox import log_lines
from oneseek_sandbox.http import function
from oneseek_sandbox.log_lines import called_by, configure_logging, flush_log, log_facts
from oneseek_sandbox.tracing import within_trace

pytestmark = pytest.mark.finding(20)

LOG = logging.getLogger("oneseek_sandbox.test")


@pytest.fixture(autouse=True)
def restored():
    yield
    called_by("")
    log_lines._writers.clear()
    for name in ("oneseek_sandbox", "opentelemetry"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def lines(capsys):
    def lines():
        flush_log()
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    return lines


def test_a_line_has_its_fields_and_leaves_out_what_is_empty(lines):
    configure_logging("info")
    called_by("ci")
    with within_trace("ab" * 16):
        log_facts(LOG, logging.INFO, "Answered\na call", {"verb": "ls", "status": 200, "error": ""})
    (line,) = lines()
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "oneseek_sandbox.test",
        "message": "Answered\na call",
        "trace_id": "ab" * 16,
        "caller": "ci",
        "verb": "ls",
        "status": 200,
    }


def test_the_level_decides_what_is_written(lines):
    configure_logging("warning")
    log_facts(LOG, logging.INFO, "quiet", {})
    LOG.warning("%s", "loud")
    assert [line["message"] for line in lines()] == ["loud"]


def test_an_exception_is_told_with_its_traceback(lines):
    configure_logging("info")
    LOG.error("It failed", exc_info=ValueError("broken"))
    (line,) = lines()
    assert "ValueError: broken" in line["exception"]


async def test_tasks_at_once_are_told_apart(lines):
    configure_logging("info")

    async def call(name):
        called_by(name)
        await asyncio.sleep(0)
        LOG.info("by %s", name)

    await asyncio.gather(*(asyncio.create_task(call(name)) for name in ("a", "b")))
    assert {line["message"]: line["caller"] for line in lines()} == {"by a": "a", "by b": "b"}


def read_to_the_end(descriptor, received):
    with os.fdopen(descriptor) as file:
        received.extend(file)


def test_a_log_that_nobody_reads_delays_no_call_and_says_what_was_dropped(monkeypatch):
    """A pipe to a log collector that hangs is full after 64 KiB."""
    reading, writing = os.pipe()
    monkeypatch.setattr(log_lines, "_MOST_WAITING", 100)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        configure_logging("info")
        began = time.monotonic()
        for number in range(3000):
            LOG.info("%d %s", number, "x" * 1000)
        assert time.monotonic() - began < 30
        received = []
        reader = threading.Thread(target=read_to_the_end, args=(reading, received))
        reader.start()
        flush_log()
        LOG.info("the last")
        flush_log()
        log_lines._writers[0].flush(10)
    reader.join(10)
    messages = [json.loads(line)["message"] for line in received]
    dropped = sum(int(text.split()[0]) for text in messages if "were dropped" in text)
    assert dropped > 1000
    kept = [text for text in messages if "dropped" not in text]
    assert len(kept) + dropped == 3001
    assert kept[-1] == "the last"


def test_a_function_warns_of_a_setting_that_it_does_not_know_and_serves(
    lines, monkeypatch, tmp_path
):
    """Its ConfigMap may be newer than its image."""
    monkeypatch.setenv("PROVISIONER_HOME", str(tmp_path))
    monkeypatch.setenv("PROVISIONER_API_KEY", "key-of-the-function-under-test")
    monkeypatch.setenv("PROVISIONER_MAX_FUTURE", "7")
    assert function._service.__wrapped__("ls").keys
    (line,) = lines()
    assert line["level"] == "warning"
    assert "PROVISIONER_MAX_FUTURE is not a setting" in line["message"]
