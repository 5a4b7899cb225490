"""A framework is loaded by its own adapter, and by nothing else of ours."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import oneseek_sandbox.client, oneseek_sandbox.adapters, oneseek_sandbox.cli
print([name for name in ("deepagents", "langchain_core", "deerflow", "pydantic_ai", "inspect_ai") if name in sys.modules])
"""


def test_a_backend_without_adapters_loads_no_framework():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
