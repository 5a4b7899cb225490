from __future__ import annotations

from datetime import UTC, datetime

import pytest

from oneseek_sandbox.cli.terminal import human_age, human_size, printable

NOW = datetime(2025, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (10_240, "10 KiB"),
        (1_048_575, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (5000 * 1024**4, "5000 TiB"),
    ],
)
def test_sizes_have_units(size, text):
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("when", "text"),
    [
        ("2025-03-01T11:59:48Z", "12 s ago"),
        ("2025-03-01T12:15:00Z", "in 15 min"),
        ("2025-03-01T03:00:00+00:00", "9 h ago"),
        ("2025-02-20T12:00:00+00:00", "9 d ago"),
    ],
)
def test_ages_have_units(when, text):
    assert human_age(when, NOW) == text


def test_odd_names_stay_on_one_line():
    assert printable("a b\n\x1b[31mü") == "a b\\n\\x1b[31mü"
