"""Each of the nine lease promises is held by tests that bear its number."""

from __future__ import annotations

import re

import pytest


@pytest.mark.parametrize("number", range(1, 10))
def test_a_promise_has_tests(texts, number):
    marked = [
        str(path)
        for path, text in texts.items()
        if path.suffix == ".py" and (path.parts[0] == "tests" or "testing" in path.parts)
        for numbers in re.findall(r"^\s*@pytest\.mark\.promise\(([\d, ]+)\)", text, re.MULTILINE)
        if number in [int(part) for part in numbers.split(",") if part.strip()]
    ]
    assert marked, f"no test is marked @pytest.mark.promise({number})"
