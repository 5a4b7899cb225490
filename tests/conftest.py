"""Servers of the tests' own, as processes; the essential part of a contract."""

from __future__ import annotations

import pytest
from tests import published_suites

from oneseek_sandbox.testing.server import live_servers


@pytest.fixture(scope="session")
def new_server(tmp_path_factory):
    """Return a function that starts a server."""
    yield from live_servers(tmp_path_factory.mktemp("servers"))


def pytest_collection_modifyitems(config, items):
    """Of the contract that a class inherits, run the part that it is for.

    With `only_essential` the marked part; with `last_release` what that release knows.
    """
    published_suites.expect(items)
    left_out = [item for item in items if _is_proved_elsewhere(item) or _is_unknown(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    published_suites.note(item, report)
    return report


def pytest_terminal_summary(terminalreporter):
    published_suites.summarize(terminalreporter)


def _is_proved_elsewhere(item):
    only_essential = getattr(item.cls, "only_essential", False)
    return only_essential and not item.get_closest_marker("essential")


def _is_unknown(item):
    return getattr(item.cls, "last_release", False) and item.get_closest_marker("new")
