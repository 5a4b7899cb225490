"""A `TraceRecorder` hears the same spans, with OpenTelemetry's SDK and without."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys

import pytest

from oneseek_sandbox.errors import CapacityError
from oneseek_sandbox.log_lines import configure_logging, flush_log
from oneseek_sandbox.telemetry import add_recorder, remove_recorder
from oneseek_sandbox.telemetry.spans import current_span, start_span
from oneseek_sandbox.tracing import current_trace_id

WITHOUT_THE_SDK = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "opentelemetry" or name.startswith("opentelemetry."):
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Absent())

import oneseek_sandbox.http.function, oneseek_sandbox.gateway.app, oneseek_sandbox.client
from oneseek_sandbox.telemetry import add_recorder
from oneseek_sandbox.telemetry.instruments import count_call, metrics_text
from oneseek_sandbox.telemetry.operations import Operation
from oneseek_sandbox.telemetry.providers import set_up
from oneseek_sandbox.telemetry.spans import current_span, start_span
from oneseek_sandbox.tracing import current_trace_id, start_trace

class Recorder:
    def __init__(self):
        self.heard = []
    def on_start(self, span):
        self.heard.append(("start", span))
    def on_end(self, span):
        self.heard.append(("end", span))

set_up("a service", {"OTEL_TRACES_EXPORTER": "otlp"})
start_trace("00-" + "ab" * 16 + "-" + "cd" * 8 + "-01")
with start_span("quiet").active():
    quiet = current_span().traceparent
rounds = []
for _ in range(2):
    Operation("function", "cleanup_idle", "internal", counted=False, remote="").end()
    rounds.append(current_trace_id())
recorder = Recorder()
add_recorder(recorder)
span = start_span("function.ls", "server", {"sandbox.id": "1"}, remote=quiet)
with span.active():
    below = start_span("worker.ls", "client")
    below.end()
span.note({"sandbox.truncated": True})
span.end("capacity", "CapacityError")
count_call("ls", "", 0.1, {})
print(json.dumps({
    "quiet": quiet,
    "rounds": rounds,
    "loaded": [name for name in sys.modules if name.startswith("opentelemetry")],
    "heard": [
        [what, s.name, s.kind, s.trace_id, s.span_id, s.parent_id, dict(s.attributes),
         s.started_ns, s.ended_ns, s.status, s.error]
        for what, s in recorder.heard
    ],
    "metrics": metrics_text(),
}))
"""


class Recorder:
    def __init__(self):
        self.started, self.ended = [], []

    def on_start(self, span):
        self.started.append(span)

    def on_end(self, span):
        self.ended.append(span)


@pytest.fixture
def recorder():
    recorder = Recorder()
    add_recorder(recorder)
    yield recorder
    remove_recorder(recorder)


@pytest.fixture(scope="module")
def without_the_sdk():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_SDK], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_without_opentelemetry_spans_cost_nothing_and_keep_the_trace(without_the_sdk):
    seen, log = without_the_sdk
    assert seen["loaded"] == []
    assert seen["quiet"].startswith("00-" + "ab" * 16 + "-")
    assert len(set(seen["rounds"])) == 2
    assert "oneseek-sandbox[telemetry]" in log


def test_without_opentelemetry_a_recorder_hears_whole_spans(without_the_sdk):
    seen, _ = without_the_sdk
    (start, *above), (start2, *below_then), (end2, *below), (end, *above_then) = seen["heard"]
    assert (start, start2, end2, end) == ("start", "start", "end", "end")
    assert above[:3] == ["function.ls", "server", "ab" * 16]
    assert above[4] == seen["quiet"].split("-")[2]
    assert below[:2] == ["worker.ls", "client"]
    assert below[2] == above[2]
    assert below[4] == above[3]
    assert below_then[8:] == ["unset", ""]
    assert below[8:] == ["ok", ""]
    assert above_then[5] == {"sandbox.id": "1", "sandbox.truncated": True}
    assert above_then[8:] == ["error", "capacity"]
    assert above[7] is None
    assert above_then[7] >= below[7] >= below[6] >= above[6]


def test_without_opentelemetry_there_are_figures(without_the_sdk):
    seen, _ = without_the_sdk
    line = 'oneseek_sandbox_operation_duration_seconds_count{verb="ls",outcome="ok"} 1'
    assert line in seen["metrics"].splitlines()


def test_a_recorder_and_opentelemetry_hear_of_the_same_span(recorder, spans):
    with start_span("both").ending():
        pass
    (ours,), (theirs,) = recorder.ended, spans()
    assert (ours.trace_id, ours.span_id) == (theirs.trace_id, theirs.span_id)


def test_a_recorder_hears_who_is_below_whom(recorder, spans):
    above = start_span("above")
    with above.active():
        start_span("below").end()
    above.end()
    below, ended = recorder.ended
    assert below.parent_id == ended.span_id == spans()[1].span_id
    assert ended.parent_id is None


def test_a_recorder_that_fails_fails_no_call(recorder, caplog):
    class Broken:
        def on_start(self, span):
            raise RuntimeError("broken recorder")

        on_end = on_start

    broken = Broken()
    add_recorder(broken)
    try:
        start_span("goes on").end()
    finally:
        remove_recorder(broken)
    assert [span.name for span in recorder.ended] == ["goes on"]


def test_an_error_is_told_by_its_code_alone(recorder):
    with pytest.raises(CapacityError), start_span("fails").ending():
        raise CapacityError("words that may say too much")
    (span,) = recorder.ended
    assert (span.status, span.error) == ("error", CapacityError.code)
    assert "words" not in repr(span)


def test_a_fault_of_our_own_is_internal(recorder):
    with pytest.raises(ZeroDivisionError), start_span("fails").ending():
        raise ZeroDivisionError
    assert recorder.ended[0].error == "internal"


def test_log_lines_inside_a_span_have_its_traces_id(recorder, capsys):
    configure_logging("info")
    span = start_span("logs")
    with span.active():
        logging.getLogger("oneseek_sandbox.anything").warning("inside")
    logging.getLogger("opentelemetry.sdk.anything").warning("outside")
    flush_log()
    inside, outside = map(json.loads, capsys.readouterr().err.splitlines())
    assert inside["trace_id"] == recorder.started[0].trace_id
    assert "trace_id" not in outside
    for name in ("oneseek_sandbox", "opentelemetry"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


async def test_tasks_have_their_own_current_span(recorder):
    async def work(name):
        span = start_span(name)
        with span.active():
            await asyncio.sleep(0)
            assert current_trace_id() == recorder.started[int(name)].trace_id
            start_span("below " + name).end()
        span.end()

    await asyncio.gather(*(work(str(number)) for number in range(3)))
    ended = {span.name: span for span in recorder.ended}
    for number in range(3):
        assert ended[f"below {number}"].parent_id == ended[str(number)].span_id
    assert current_span().traceparent == ""
