"""`mypy --strict` knows the client: it takes what is right, and refuses what is misspelt."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tools.blocking_client import written

ROOT = Path(__file__).parents[2]
CONSUMER = Path(__file__).with_name("consumer.py")


def test_the_blocking_half_is_that_of_the_async_client():
    for path, text in written().items():
        assert path.read_text() == text, "run: python tools/blocking_client.py"


def test_strict_types_refuse_exactly_what_is_wrong():
    marked = {
        (number, code)
        for number, line in enumerate(CONSUMER.read_text().splitlines(), 1)
        for code in re.findall(r"  # \[([a-z-]+)\]$", line)
    }
    # The settings, and so the cache, of `make check`: it is warm there, and strict.
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", CONSUMER],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"consumer\.py:(\d+): error: .*\[([a-z-]+)\]$", checked.stdout, re.MULTILINE)
    assert {(int(number), code) for number, code in found} == marked, checked.stdout
    assert checked.stdout.count(": error:") == len(marked), checked.stdout
