"""Suites that others publish, run on sandboxes of ours: what does not pass is named, and counted.

A class that inherits a suite says with which `settings` it runs, and in `not_passed` why which test
does not pass. What the suite skips by itself has not passed either, and fails unless it is named.
"""

from __future__ import annotations

from collections import defaultdict
from typing import ClassVar

import pytest


class PublishedSuite:
    """Beside a suite, of which `suite` is the name."""

    suite = ""
    settings = ""
    not_passed: ClassVar[dict[str, str]] = {}


def is_published(item):
    return isinstance(item, pytest.Function) and issubclass(item.cls or object, PublishedSuite)


def expect(items):
    """Mark what a class names as not passed; when it passes after all, that fails."""
    for item in filter(is_published, items):
        reason = item.cls.not_passed.get(item.originalname)
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def note(item, report):
    """Say of a report whose it is, and turn a skip that nobody has named into a failure."""
    if not is_published(item):
        return
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"Skipped, so it has not passed: {report.longrepr[-1]}"
    if report.when == "call" or report.failed:
        title = f"{item.cls.suite}, {item.cls.settings}"
        report.user_properties.append(("published_suite", title))


def summarize(reporter):
    """Print how much of each suite passed, and what did not."""
    passed, all_of = defaultdict(list), defaultdict(dict)
    for outcome in ("passed", "failed", "error", "xfailed", "xpassed"):
        for report in reporter.getreports(outcome):
            # A module that cannot be collected is a report without properties.
            title = dict(getattr(report, "user_properties", ())).get("published_suite")
            if title is not None:
                name = report.nodeid.rpartition("::")[2]
                all_of[title][name] = getattr(report, "wasxfail", "") or outcome
                if outcome == "passed":
                    passed[title].append(name)
    for title, tests in all_of.items():
        done = set(passed[title])
        reporter.write_line(f"{title}: {len(done)} of {len(tests)} pass")
        for name, why in tests.items():
            if name not in done:
                reporter.write_line(f"  not passed: {name}: {why.removeprefix('reason: ')}")
