"""Log lines: one JSON object each on stderr, written by a thread of its own.

A call never waits for who reads the log: lines wait in memory, at most `_MOST_WAITING` of them, and
what comes on top is counted instead.
"""

from __future__ import annotations

import atexit
import json
import logging
import queue
import sys
import threading
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import QueueHandler
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.tracing import current_trace_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

__all__ = ["called_by", "configure_logging", "flush_log", "log_facts"]

_MOST_WAITING: Final = 10_000
_AT_ONCE: Final = 200
_LAST_WORDS_SECONDS: Final = 2.0
_caller: ContextVar[str] = ContextVar("caller", default="")


def called_by(name: str) -> None:
    """Name the key of this task's call in every log line from here on; empty for nobody's."""
    _caller.set(name)


def log_facts(log: logging.Logger, level: int, message: str, facts: Mapping[str, object]) -> None:
    """Log a line with fields of its own; those that are empty are left out."""
    if log.isEnabledFor(level):
        log.log(level, message, extra={"facts": facts})


def configure_logging(level: str) -> None:
    """Write the log lines of this process to stderr."""
    flush_log()
    writer = _Writer(sys.stderr)
    handler = _Waiting(writer)
    # OpenTelemetry's exporters have something to say when a collector does not answer.
    for name in ("oneseek_sandbox", "opentelemetry"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False
    _writers[:] = [writer]


def flush_log() -> None:
    """Wait until what was logged is written, for two seconds at most."""
    for writer in _writers:
        writer.flush(_LAST_WORDS_SECONDS)


class _Waiting(QueueHandler):
    """Notes what only the caller's task knows, and hands the record on."""

    def __init__(self, writer: _Writer) -> None:
        super().__init__(writer.waiting)
        self._writer = writer

    def prepare(self, record: logging.LogRecord) -> dict[str, Any]:
        line: dict[str, Any] = {
            "created": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "trace_id": current_trace_id(),
            "caller": _caller.get(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = _FORMATTER.formatException(record.exc_info)
        return line

    def enqueue(self, record: Any) -> None:  # noqa: ANN401 - what `prepare` returned
        try:
            self._writer.waiting.put_nowait(record)
        except queue.Full:
            self._writer.dropped += 1


class _Writer:
    """The thread that writes; it ends with the process."""

    def __init__(self, stream: TextIO) -> None:
        self.waiting: queue.Queue[dict[str, Any] | threading.Event] = queue.Queue(_MOST_WAITING)
        self.dropped = 0
        self._stream = stream
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def flush(self, seconds: float) -> None:
        written = threading.Event()
        with suppress(queue.Full):
            self.waiting.put(written, timeout=seconds)
            written.wait(seconds)

    def _write(self) -> None:
        while True:
            due = [self.waiting.get()]
            with suppress(queue.Empty):
                while len(due) < _AT_ONCE:
                    due.append(self.waiting.get_nowait())
            text = "".join(_json(line) for line in due if isinstance(line, dict))
            dropped, self.dropped = self.dropped, 0
            if dropped:
                text += _json({"level": "warning", "message": f"{dropped} log lines were dropped"})
            with suppress(OSError, ValueError):  # nobody reads any more
                self._stream.write(text)
                self._stream.flush()
            for line in due:
                if isinstance(line, threading.Event):
                    line.set()


def _json(line: dict[str, Any]) -> str:
    created = line.pop("created", None)
    at = datetime.now(UTC) if created is None else datetime.fromtimestamp(created, UTC)
    said = {name: value for name, value in line.items() if value not in ("", None)}
    time = at.isoformat(timespec="milliseconds")
    return json.dumps({"time": time, **said}, ensure_ascii=False, default=str) + "\n"


_FORMATTER: Final = logging.Formatter()
_writers: Final[list[_Writer]] = []
atexit.register(flush_log)
