"""The suite that LangChain publishes for sandboxes, on sandboxes of ours."""

from __future__ import annotations

import functools

import pytest
from langchain_tests.integration_tests import SandboxIntegrationTests

from oneseek_sandbox.adapters.deepagents import DeepAgentsSandbox
from oneseek_sandbox.client.blocking import BlockingSandboxes
from oneseek_sandbox.client.embedded import EmbeddedSandboxes
from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.settings import Settings

# The suite's own fixtures are of the kind that pytest 10 drops.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Class-scoped fixture:pytest.PytestRemovedIn10Warning"
)
# The suite calls `python`, which Debian does not have.
PYTHON = "mkdir -p ~/.local/bin && ln -sf $(command -v python3) ~/.local/bin/python"
ENV = {"PATH": "/workspace/.local/bin:/usr/local/bin:/usr/bin:/bin"}

# What the suite still asks for and deepagents 0.7 does not do any more, its own sandboxes neither.
OF_OLD = [
    "test_glob",
    "test_glob_basic_pattern",
    "test_glob_hidden_files_explicitly",
    "test_glob_with_character_class",
    "test_glob_with_directories",
    "test_glob_with_question_mark",
    "test_write_existing_file_fails",
]


class _Suite(SandboxIntegrationTests):
    @property
    def sandbox_root_dir(self) -> str:
        return "/workspace/suite"

    @pytest.fixture(scope="class")
    def sandbox(self, backend_thread):
        backend_thread.execute(PYTHON)
        yield DeepAgentsSandbox(backend_thread, conventions="0.6", env=ENV)
        backend_thread.release()


class TestRemote(_Suite):
    """All of it, over HTTP to a server."""

    @pytest.fixture(scope="class")
    def backend_thread(self, sandboxes):
        return sandboxes.thread("suite-remote")


class TestEmbedded(_Suite):
    """All of it, on sandboxes of this process."""

    @pytest.fixture(scope="class")
    def backend_thread(self, tmp_path_factory):
        home = tmp_path_factory.mktemp("embedded") / "home"
        with BlockingSandboxes(EmbeddedSandboxes(Settings(home=home))) as sandboxes:
            yield sandboxes.thread("suite-embedded")
        EmbeddedServer.stop(home)


class TestToday(_Suite):
    """With the conventions of deepagents 0.7, which we have when nothing else is said."""

    @pytest.fixture(scope="class")
    def backend_thread(self, sandboxes):
        return sandboxes.thread("suite-today")

    @pytest.fixture(scope="class")
    def sandbox(self, backend_thread):
        backend_thread.execute(PYTHON)
        yield DeepAgentsSandbox(backend_thread, env=ENV)
        backend_thread.release()


def _as_it_is(test):
    @functools.wraps(test)
    def run(*args, **fields):
        return test(*args, **fields)

    return pytest.mark.xfail(reason="of deepagents 0.6")(run)


for name in OF_OLD:
    setattr(TestToday, name, _as_it_is(getattr(SandboxIntegrationTests, name)))
