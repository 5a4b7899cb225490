"""An error tells a model what to do next, in words of the tools."""

from __future__ import annotations

import pytest

from oneseek_sandbox import errors
from oneseek_sandbox.agent_tools.advice import error_text

ALL = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, errors.SandboxError)
]


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.code)
def test_every_error_is_told_with_its_code_and_its_message(error):
    text = error_text(error("What happened."))
    assert text.startswith(f"Error ({error.code}): What happened.")
    assert "{" not in text


def replaced(*, is_new, may_have_run):
    gone = errors.SandboxExpiredError("gone", may_have_run=may_have_run)
    return error_text(
        errors.SandboxReplacedError.after(gone, sandbox_id="0" * 32, workspace_is_new=is_new)
    )


def test_a_new_workspace_must_be_filled_again():
    text = replaced(is_new=True, may_have_run=False)
    assert "the files of before are gone" in text
    assert "The call was not done" in text
    assert "Write the files that you need again" in text


def test_a_call_that_may_have_run_is_looked_at_first():
    text = replaced(is_new=False, may_have_run=True)
    assert "with its files" in text
    assert "may have taken effect" in text
    assert "sandbox_read_file" in text


def test_capacity_is_tried_again_later():
    text = error_text(errors.CapacityError("Full.", retry_after_seconds=7))
    assert "in 7 s" in text
    assert "tell the user" in text


def test_what_did_not_run_may_be_repeated_and_what_may_have_run_not():
    kind = errors.ServerUnreachableError
    assert "Nothing was done" in error_text(kind("Away.", may_have_run=False))
    assert "before you repeat it" in error_text(kind("Away.", may_have_run=True))


@pytest.mark.parametrize(
    "error", [errors.UnauthenticatedError, errors.ConfigurationError, errors.InternalError]
)
def test_what_a_model_cannot_fix_it_does_not_try_again(error):
    assert "trying again does not help" in error_text(error("No."))
