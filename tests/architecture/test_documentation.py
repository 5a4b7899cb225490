"""docs/settings.md and docs/errors.md say what is so, and all of it."""

from __future__ import annotations

import re

import pytest

from oneseek_sandbox import errors
from oneseek_sandbox.settings import Settings, variables

ERRORS = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, errors.SandboxError)
]


@pytest.fixture(scope="module")
def settings_rows(root) -> dict[str, list[str]]:
    text = (root / "docs" / "settings.md").read_text()
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in rows}


@pytest.fixture(scope="module")
def error_sections(root) -> dict[str, str]:
    text = (root / "docs" / "errors.md").read_text()
    parts = re.split(r"^### `(\w+)`$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_setting_is_documented_and_nothing_else(settings_rows):
    assert list(settings_rows) == list(variables().values())


@pytest.mark.parametrize("field", Settings.model_fields)
def test_a_setting_is_documented_with_unit_default_and_reason(settings_rows, field):
    unit, default, reason = settings_rows[variables()[field]]
    assert unit
    assert len(reason) > 40
    info = Settings.model_fields[field]
    if info.default_factory is None:
        assert default == _as_written(info.default)


@pytest.mark.parametrize(
    ("field", "bounds"),
    [
        (
            field,
            [
                bound
                for item in info.metadata
                for bound in (getattr(item, "ge", None), getattr(item, "le", None))
                if bound
            ],
        )
        for field, info in Settings.model_fields.items()
    ],
)
def test_the_limits_of_a_setting_are_documented(settings_rows, field, bounds):
    unit = settings_rows[variables()[field]][0]
    for bound in bounds:
        assert re.search(rf"\b{bound}\b", unit), f"{field}: {bound} is not in {unit!r}"


def test_every_error_code_is_documented_and_nothing_else(error_sections):
    assert sorted(error_sections) == sorted({error.code for error in ERRORS})


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_an_error_is_documented_with_status_retry_and_remedy(error_sections, error):
    section = error_sections[error.code]
    assert f"HTTP {error.status}," in section
    assert ("try again" in section.splitlines()[2]) == error.retryable
    if error.default_retry_after_seconds:
        assert f"after {error.default_retry_after_seconds} s." in section
    assert re.search(r"\*\*What to do:\*\* \S.{15,}", section)


def _as_written(default: object) -> str:
    if hasattr(default, "get_secret_value"):
        default = default.get_secret_value()
    if default is None:
        return "not set"
    if default == "":
        return "empty"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_the_glossary_has_at_most_thirty_words_in_order(root):
    text = (root / "docs" / "glossary.md").read_text()
    words = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][1:]
    assert 20 < len(words) <= 30
    assert words == sorted(words)
