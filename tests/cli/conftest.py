"""The command line, as a person types it, against a live server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

KEY = "key-of-the-command-line"


class Shell:
    """Runs `oneseek-sandbox` with the server and the key in the environment."""

    def __init__(self, server, folder):
        self.server = server
        self.folder = folder
        self.environment = os.environ | {
            "ONESEEK_SANDBOX_URL": server.url,
            "ONESEEK_SANDBOX_KEY": server.key,
            "COLUMNS": "80",
        }

    def __call__(self, *arguments, stdin=b"", **environment):
        return subprocess.run(
            [sys.executable, "-m", "oneseek_sandbox.cli", *map(str, arguments)],
            input=stdin,
            env=self.environment | environment,
            cwd=self.folder,
            capture_output=True,
            timeout=60,
            check=False,
        )

    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "oneseek_sandbox.cli", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A shell's background job, as a test run may be, ignores it, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


@pytest.fixture(scope="session")
def server(new_server):
    return new_server(key=KEY, settings={"PROVISIONER_MAX_OUTPUT_BYTES": "100000"})


@pytest.fixture
def shell(server, tmp_path):
    return Shell(server, tmp_path)


@pytest.fixture
def thread(shell, request):
    """A thread of the test's own, with a sandbox; released at the end."""
    name = request.node.name
    assert shell("acquire", "--thread", name).returncode == 0
    yield name
    shell("release", "--thread", name)
