"""docs/api.md says what happens: its examples are run, and answer as is written below them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

API = Path(__file__).parents[2] / "docs" / "api.md"
BLOCKS = re.findall(r"^```(sh|json|text)\n(.*?)^```$", API.read_text(), re.MULTILINE | re.DOTALL)
KEY = "key-of-the-api-examples"


@pytest.fixture(scope="module")
def server(new_server):
    return new_server(key=KEY)


def run(script, server, folder):
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "SANDBOX_URL": server.url,
            "SANDBOX_KEY": KEY,
            "NO_PROXY": "*",
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def shows(shown, found):
    """Say whether an answer is as it is shown; what is not shown, or is `…`, may be anything."""
    if isinstance(shown, dict):
        return isinstance(found, dict) and all(
            name in found and shows(value, found[name]) for name, value in shown.items()
        )
    if isinstance(shown, list):
        return (
            isinstance(found, list) and len(shown) == len(found) and all(map(shows, shown, found))
        )
    return shown in ("…", found) and isinstance(found, type(shown))


def lines_of_json(text):
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def test_every_example_is_followed_by_its_answer():
    kinds = [kind for kind, _ in BLOCKS]
    assert kinds[0::2] == ["sh"] * (len(kinds) // 2)
    assert "sh" not in kinds[1::2]


def test_every_verb_has_an_example():
    from oneseek_sandbox.http.verbs import VERBS

    scripts = "".join(text for kind, text in BLOCKS if kind == "sh")
    for verb in VERBS:
        assert f"/v1/sandbox/{verb}" in scripts


def test_the_examples_answer_as_is_written(server, tmp_path):
    for (_, script), (kind, shown) in zip(BLOCKS[0::2], BLOCKS[1::2], strict=True):
        done = run(script, server, tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), script + done.stderr
        if kind == "text":
            assert done.stdout.strip().startswith(shown.strip()), script
        else:
            for wanted, found in zip(lines_of_json(shown), lines_of_json(done.stdout), strict=True):
                assert shows(wanted, found), f"{script}\n{wanted}\n{found}"
