"""The Lua files and the Python that reads them know the same words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from oneseek_sandbox.errors import SandboxError
from oneseek_sandbox.leases import redis as store_module
from oneseek_sandbox.leases.refusals import RefusalCode, refusal
from oneseek_sandbox.leases.store import Thread

SCRIPTS = sorted((Path(store_module.__file__).parent / "scripts").glob("*.lua"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_says_first_what_it_does_and_answers(script):
    text = script.read_text()
    header = text[: text.index("\n\n")]
    assert all(line.startswith("--") for line in header.splitlines())
    assert script.stem == "lease" or "-- Answers {" in header
    # ARGV beyond the shared three is said where it is read.
    if re.search(r"ARGV\[[4-9]", text) and script.stem != "lease":
        assert "-- ARGV  4 " in header


def test_every_script_is_called_and_every_call_has_its_script():
    source = Path(store_module.__file__).read_text()
    called = set(re.findall(r'_transitions\.\w+\(\s*"(\w+)"', source))
    assert called == {script.stem for script in SCRIPTS} - {"lease"}


def test_every_refusal_of_a_script_has_its_words():
    # Ends refuse with their reason, which a script reads from the store.
    said = {"released", "expired", "lost"}
    for script in SCRIPTS:
        for refused in re.findall(r"refused\((.*?)\)", script.read_text()):
            said |= set(re.findall(r"'(\w+)'", refused))
    assert said == set(get_args(RefusalCode))


@pytest.mark.parametrize("code", get_args(RefusalCode))
def test_a_refusal_names_what_it_is_about_and_what_to_do(code):
    error = refusal(code, thread=Thread("s", "my-thread"), sandbox_id="5and80x")
    assert isinstance(error, SandboxError)
    assert "my-thread" in error.message or "5and80x" in error.message
    assert re.search(r"[Aa]cquire|again", error.message)
