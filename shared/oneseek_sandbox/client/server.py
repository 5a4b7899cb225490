"""One server, as its clients reach it: the rules for its address, its key and the way there."""

from __future__ import annotations

from typing import Any

import httpx

from oneseek_sandbox.bearer import is_sendable
from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.loopback import LOOPBACK_NAMES

__all__ = ["Server"]


class Server:
    """A base URL and a key.

    Args:
        url: Without `/v1`.
        key: Sent as `Authorization: Bearer`; empty sends none.
        url_setting: What whoever gave the URL calls it, for errors.
        key_setting: The same of the key.

    Attributes:
        url: As errors name it.

    Raises:
        ConfigurationError: `url` is no http or https URL or holds a password, or no header can
            carry the key.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        url_setting: str = "sandbox_provisioner_url",
        key_setting: str = "sandbox_provisioner_api_key",
    ) -> None:
        self.url_setting = url_setting
        self._base = _base_url(url, url_setting, key_setting)
        self.url = str(self._base).rstrip("/")
        # What is decompressed has no length that could be bounded beforehand.
        self._headers = {"accept-encoding": "identity"}
        if key:
            if not is_sendable(key):
                raise ConfigurationError(
                    f"{key_setting} begins or ends with a blank or a newline, or has characters "
                    "beyond printable ASCII; no header can carry it."
                )
            self._headers["authorization"] = f"Bearer {key}"

    def client_options(self) -> dict[str, Any]:
        """Return what an httpx client of this server is made with.

        It follows no redirect, so that the key goes nowhere else.
        """
        return {
            "base_url": self._base,
            "headers": self._headers,
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=64),
            "follow_redirects": False,
            # A proxy from the environment cannot reach this machine's loopback.
            "trust_env": self._base.host not in LOOPBACK_NAMES,
            # Reading the certificates takes longer than a call, and nobody shows one here.
            "verify": self._base.scheme == "https",
        }


def _base_url(url: str, url_setting: str, key_setting: str) -> httpx.URL:
    try:
        base = httpx.URL(url)
    except httpx.InvalidURL:
        base = httpx.URL("")
    if base.userinfo:
        raise ConfigurationError(
            f"{url_setting} holds a user name or a password; give the key by {key_setting}."
        )
    if base.scheme not in {"http", "https"} or not base.host:
        raise ConfigurationError(
            f"{url!r} is not a provisioner URL; give {url_setting} one like http://127.0.0.1:8002."
        )
    return base
