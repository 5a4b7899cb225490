"""The error tree is complete, drawn, and each code stands for one class."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from oneseek_sandbox import errors


def _tree(base: type[errors.SandboxError]) -> list[type[errors.SandboxError]]:
    return [base, *(error for child in base.__subclasses__() for error in _tree(child))]


ERRORS = [
    error for error in _tree(errors.SandboxError) if error.__module__.startswith(errors.__name__)
]


def test_error_codes_are_unique():
    counts = Counter(error.code for error in ERRORS)
    assert [code for code, count in counts.items() if count > 1] == []


def test_every_error_class_sets_its_own_code():
    assert [error.__name__ for error in ERRORS if "code" not in vars(error)] == []


def test_every_error_is_drawn_below_its_base():
    drawn = {}
    branch: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        names = re.findall(r"\w+Error", line)
        if not names or not line.startswith("    "):
            continue
        depth = line.index(names[0])
        branch = [entry for entry in branch if entry[0] < depth]
        for name in names:
            drawn[name] = branch[-1][1] if branch else "Exception"
        branch.append((depth, names[-1]))
    assert drawn == {error.__name__: error.__bases__[0].__name__ for error in ERRORS}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_an_error_is_found_by_its_code(error):
    assert errors.error_for_code(error.code) is error


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_statuses_and_retries_agree(error):
    assert 400 <= error.status < 600
    if error.retryable:
        assert error.status in {409, 429, 503}
        assert error.default_retry_after_seconds
    else:
        assert error.status not in {429, 503}
