"""docs/agent-tools.md names the tools and their arguments as they are."""

from __future__ import annotations

import re
from pathlib import Path

from oneseek_sandbox.agent_tools import TOOLS

TEXT = (Path(__file__).parents[2] / "docs" / "agent-tools.md").read_text()


def test_every_tool_is_documented_with_its_arguments():
    rows = re.findall(r"^\| `(sandbox_\w+)` \| (.*?) ?\| ", TEXT, re.MULTILINE)
    documented = {name: cell.split(", ") if cell else [] for name, cell in rows}
    assert documented == {
        name: [
            f"`{field}`" if info.is_required() else f"`{field}`?"
            for field, info in tool.arguments.model_fields.items()
        ]
        for name, tool in TOOLS.items()
    }


def test_what_it_links_to_is_there():
    for target in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (Path(__file__).parents[2] / "docs" / target).exists(), target
