"""No web page may drive the server."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from oneseek_sandbox.errors import ForbiddenError
from oneseek_sandbox.gateway.guard import Guard
from oneseek_sandbox.settings import Settings

OPEN = Guard(Settings(), any_host=False)


@pytest.mark.parametrize("host", ["127.0.0.1:8002", "localhost", "LOCALHOST:1", "[::1]:8002"])
def test_loopback_names_are_ours(host):
    OPEN.check(Headers({"host": host}))


@pytest.mark.parametrize("host", ["evil.example:8002", "127.0.0.1.evil.example", "", "[::1", "a b"])
def test_other_names_are_not(host):
    with pytest.raises(ForbiddenError):
        OPEN.check(Headers({"host": host}))


@pytest.mark.parametrize(
    "header",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_other_sites_are_refused(header):
    for guard in (OPEN, Guard(Settings(), any_host=True)):
        with pytest.raises(ForbiddenError):
            guard.check(Headers({"host": "127.0.0.1:8002", **header}))


def test_the_page_of_this_server_is_not_refused():
    OPEN.check(
        Headers(
            {
                "host": "127.0.0.1:8002",
                "origin": "http://127.0.0.1:8002",
                "sec-fetch-site": "same-origin",
            }
        )
    )


def test_with_a_key_any_name_is_good_unless_names_are_listed():
    Guard(Settings(), any_host=True).check(Headers({"host": "sandbox.example.com"}))
    listed = Guard(Settings(allowed_hosts="sandbox.example.com, other"), any_host=True)
    listed.check(Headers({"host": "sandbox.example.com:443"}))
    with pytest.raises(ForbiddenError):
        listed.check(Headers({"host": "another.example.com"}))
