"""Keeps web pages out: a browser on the same machine must not be able to drive this server.

Pages of other sites can send requests to loopback addresses, and by DNS rebinding even read the
answers. Their requests carry an Origin, or a Host that is not ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from oneseek_sandbox.errors import ForbiddenError
from oneseek_sandbox.loopback import LOOPBACK_NAMES

if TYPE_CHECKING:
    from starlette.datastructures import Headers

    from oneseek_sandbox.settings import Settings

__all__ = ["Guard"]


class Guard:
    """Decides by headers alone.

    Args:
        any_host: A key is required, which no page knows; every Host is then good unless
            ALLOWED_HOSTS narrows it.
    """

    def __init__(self, settings: Settings, *, any_host: bool) -> None:
        listed = {name.strip().lower() for name in settings.allowed_hosts.split(",")} - {""}
        self._hosts = listed | LOOPBACK_NAMES | {settings.host.lower()}
        self._any_host = any_host and not listed

    def check(self, headers: Headers) -> None:
        """Refuse what a web page may have sent.

        Raises:
            ForbiddenError: The Host is not ours, or the request comes from another site's page.
        """
        host = headers.get("host", "")
        if not self._any_host and _name(host) not in self._hosts:
            raise ForbiddenError(
                f"Host {host!r} is not one of this server's names; call it as 127.0.0.1 or "
                "localhost, or list the name in PROVISIONER_ALLOWED_HOSTS."
            )
        origin = headers.get("origin")
        if origin is not None and _place(origin) != host.lower():
            raise ForbiddenError("Requests from web pages are not accepted.")
        if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            raise ForbiddenError("Requests from web pages of other sites are not accepted.")


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _name(host: str) -> str:
    try:
        return (urlsplit("//" + host).hostname or "").lower()
    except ValueError:
        return ""
