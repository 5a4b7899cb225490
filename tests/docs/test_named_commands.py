"""Commands and pages that texts name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from oneseek_sandbox.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
COMMANDS = typer.main.get_group(app).commands
SOURCES = [*PAGES, *ROOT.glob("shared/**/*.py")]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_command_that_a_text_tells_to_run_exists(file: Path):
    for name in re.findall(r"`oneseek-sandbox ([a-z][a-z-]*)", file.read_text()):
        assert name in COMMANDS, f"`oneseek-sandbox {name}` is no command"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_that_a_page_links_to_exists(page: Path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target
