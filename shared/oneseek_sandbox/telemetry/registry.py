"""Counters, gauges and histograms of this process, written as Prometheus reads them.

Each is an instrument of OpenTelemetry too, where that is loaded. `docs/decisions/0011` says why
these are our own.
"""

from __future__ import annotations

import bisect
import itertools
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from oneseek_sandbox.telemetry import bridge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["CONTENT_TYPE", "Counter", "Gauge", "Histogram", "written"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_Labels = tuple[str, ...]


class _Instrument(ABC):
    """What all kinds have: a name, and a value for each set of labels."""

    kind: Literal["counter", "gauge", "histogram"]

    def __init__(self, name: str, meaning: str, labels: _Labels = ()) -> None:
        self.name = name
        self.meaning = meaning
        self._labels = labels
        self._lock = threading.Lock()
        self._made: Any = None

    @abstractmethod
    def samples(self) -> Iterator[str]:
        """Yield the lines of its values."""

    @abstractmethod
    def _make(self, meter: Any) -> Any:  # noqa: ANN401 - one of OpenTelemetry's
        """Return OpenTelemetry's instrument of the same name."""

    def _there(self) -> Any:  # noqa: ANN401
        """Return OpenTelemetry's instrument of the same name; None while that is not loaded."""
        if self._made is None and (meter := bridge.active_meter()) is not None:
            self._made = self._make(meter)
        return self._made

    def _named(self, values: _Labels) -> dict[str, str]:
        return dict(zip(self._labels, values, strict=True))

    def _line(self, values: _Labels, value: float, suffix: str = "", bound: str = "") -> str:
        pairs = list(self._named(values).items()) + ([("le", bound)] if bound else [])
        labels = ",".join(f'{name}="{_escaped(text)}"' for name, text in pairs)
        labelled = f"{{{labels}}}" if labels else ""
        return f"{self.name}{suffix}{labelled} {_number(value)}"


class _Scalar(_Instrument):
    """Has one number for each set of labels."""

    def __init__(self, name: str, meaning: str, labels: _Labels = ()) -> None:
        super().__init__(name, meaning, labels)
        self._values: dict[_Labels, float] = {}

    def samples(self) -> Iterator[str]:
        """Yield a line for each."""
        with self._lock:
            values = sorted(self._values.items())
        return (self._line(labels, value) for labels, value in values)


class Counter(_Scalar):
    """Only grows; its name ends in `_total`."""

    kind = "counter"

    def add(self, amount: float, *values: str) -> None:
        """Add to the value of these labels."""
        with self._lock:
            self._values[values] = self._values.get(values, 0) + amount
        if (there := self._there()) is not None:
            there.add(amount, self._named(values))

    def _make(self, meter: Any) -> Any:  # noqa: ANN401
        return meter.create_counter(self.name.removesuffix("_total"), description=self.meaning)


class Gauge(_Scalar):
    """Goes up and down; without a value until it is known."""

    kind = "gauge"

    def set(self, value: float, *values: str) -> None:
        """Set the value of these labels."""
        with self._lock:
            self._values[values] = value
        if (there := self._there()) is not None:
            there.set(value, self._named(values))

    def forget(self) -> None:
        """Say nothing until it is set again."""
        with self._lock:
            self._values.clear()

    def _make(self, meter: Any) -> Any:  # noqa: ANN401
        return meter.create_gauge(self.name, description=self.meaning)


@dataclass(slots=True)
class _Distribution:
    counts: list[int]
    total: float = 0


class Histogram(_Instrument):
    """Counts observations by size.

    Args:
        bounds: Upper bounds of the buckets, ascending; one more takes what is above.
    """

    kind = "histogram"

    def __init__(
        self, name: str, meaning: str, labels: _Labels = (), *, bounds: tuple[float, ...]
    ) -> None:
        super().__init__(name, meaning, labels)
        self._bounds = bounds
        self._values: dict[_Labels, _Distribution] = {}

    def observe(self, value: float, *values: str) -> None:
        """Count one observation under these labels."""
        with self._lock:
            found = self._values.get(values)
            if found is None:
                found = self._values[values] = _Distribution([0] * (len(self._bounds) + 1))
            found.counts[bisect.bisect_left(self._bounds, value)] += 1
            found.total += value
        if (there := self._there()) is not None:
            there.record(value, self._named(values))

    def samples(self) -> Iterator[str]:
        """Yield the lines of each: its buckets, each with all that is below, sum and count."""
        with self._lock:
            copied = [(ls, list(d.counts), d.total) for ls, d in sorted(self._values.items())]
        for labels, counts, total in copied:
            *below, all_of_them = itertools.accumulate(counts)
            for bound, count in zip(self._bounds, below, strict=True):
                yield self._line(labels, count, "_bucket", f"{bound:g}")
            yield self._line(labels, all_of_them, "_bucket", "+Inf")
            yield self._line(labels, total, "_sum")
            yield self._line(labels, all_of_them, "_count")

    def _make(self, meter: Any) -> Any:  # noqa: ANN401
        return meter.create_histogram(
            self.name.removesuffix("_seconds"),
            unit="s",
            description=self.meaning,
            explicit_bucket_boundaries_advisory=self._bounds,
        )


def written(instruments: Iterable[_Instrument]) -> str:
    """Return their values in Prometheus's text format."""
    lines: list[str] = []
    for instrument in instruments:
        samples = list(instrument.samples())
        if samples:
            lines.append(f"# HELP {instrument.name} {instrument.meaning}")
            lines.append(f"# TYPE {instrument.name} {instrument.kind}")
            lines += samples
    return "\n".join([*lines, ""])


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
