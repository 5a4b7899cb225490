"""Who calls: Bearer keys, and the scopes that a key reaches. Also the tokens of the workers."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import secrets
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from oneseek_sandbox.bearer import is_sendable
from oneseek_sandbox.durable import sync_folder
from oneseek_sandbox.errors import ConfigurationError, ForbiddenError, UnauthenticatedError
from oneseek_sandbox.models import DEFAULT_SCOPE

if TYPE_CHECKING:
    from pathlib import Path

    from oneseek_sandbox.settings import Settings

__all__ = ["Caller", "Keys", "TokenKey"]

log = logging.getLogger(__name__)

_SHORTEST_KEY: Final = 16
_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Caller:
    """The key a call came with.

    Attributes:
        name: For logs.
        scopes: What it reaches; None for all of them.
    """

    name: str
    scopes: frozenset[str] | None = None

    def scope(self, wanted: str | None) -> str:
        """Return the scope a call works in: the wanted one, or the key's only one, or `default`.

        Raises:
            ForbiddenError: The key does not reach it.
        """
        if wanted is None:
            wanted = (
                next(iter(self.scopes))
                if self.scopes is not None and len(self.scopes) == 1
                else DEFAULT_SCOPE
            )
        if not self.reaches(wanted):
            raise ForbiddenError(
                f"This key does not reach scope {wanted!r}. Name one of its own scopes in 'scope'."
            )
        return wanted

    def reaches(self, scope: str) -> bool:
        """Return whether sandboxes of `scope` exist for this caller."""
        return self.scopes is None or scope in self.scopes

    def require_operator(self, what: str) -> None:
        """Refuse callers whose key is bound to scopes.

        Raises:
            ForbiddenError: The key is bound.
        """
        if self.scopes is not None:
            raise ForbiddenError(f"{what} needs an operator's key: one that is bound to no scopes.")


@dataclass(frozen=True, slots=True)
class _Key:
    digest: bytes
    caller: Caller


class Keys:
    """The keys that open this server; none at all means that everybody is the operator.

    API_KEYS_FILE is read again when it changed, so that keys are added and taken away without a
    restart. A file that is wrong then changes nothing.
    """

    def __init__(self, settings: Settings, *, look_seconds: float = _LOOK_SECONDS) -> None:
        self._settings = settings
        self._look_seconds = look_seconds
        self._next_look = time.monotonic() + look_seconds
        self._version = self._file_version()
        self._keys = _read_keys(settings)

    def __bool__(self) -> bool:
        return bool(self._keys)

    @classmethod
    def from_settings(cls, settings: Settings, *, look_seconds: float = _LOOK_SECONDS) -> Self:
        """Read API_KEY and API_KEYS_FILE.

        The file is a JSON list of `{"name", "key", "scopes"?}`; instead of `key` there may be
        `sha256`, the key's hexadecimal hash.

        Args:
            look_seconds: How often, at most, the file is looked at.

        Raises:
            ConfigurationError: The file cannot be read or holds no key, a key cannot be sent, is too
                short, or is there twice.
        """
        return cls(settings, look_seconds=look_seconds)

    def _file_version(self) -> tuple[int, int, int] | None:
        path = self._settings.api_keys_file
        if path is None:
            return None
        try:
            seen = path.stat()  # through the symlinks that a mounted Secret swaps
        except OSError:
            return None
        return seen.st_ino, seen.st_mtime_ns, seen.st_size

    def _look_again(self) -> None:
        if self._settings.api_keys_file is None or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + self._look_seconds
        version = self._file_version()
        if version == self._version:
            return
        self._version = version
        try:
            self._keys = _read_keys(self._settings)
        except ConfigurationError as error:
            log.error("Keeping the previous keys: %s", error)  # noqa: TRY400 - no trace
        else:
            log.info("API_KEYS_FILE changed: %d keys are in force", len(self._keys))

    def caller(self, authorization: str | None) -> Caller:
        """Return whose key an Authorization header carries; takes the same time for every key.

        Raises:
            UnauthenticatedError: There is none, or no such key.
        """
        self._look_again()
        if not self._keys:
            return Caller("anonymous")
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise UnauthenticatedError(
                "Authentication required: send the header 'Authorization: Bearer KEY'."
            )
        digest = _digest(key.strip())
        matching = [k.caller for k in self._keys if hmac.compare_digest(k.digest, digest)]
        if not matching:
            raise UnauthenticatedError(
                "The key in the Authorization header is unknown to this server."
            )
        return matching[0]


class TokenKey:
    """The secret that the workers' tokens are made from; it never leaves the control plane."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.key_id = hashlib.sha256(b"key id\0" + secret).hexdigest()[:12]

    def token_for(self, uid: str) -> str:
        """Return the token of the sandbox with this runtime uid."""
        return hmac.new(self._secret, uid.encode(), hashlib.sha256).hexdigest()

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Take TOKEN_KEY, or the key kept in the state folder, made there at the first start."""
        if text := settings.token_key.get_secret_value():
            return cls(_long_enough(text, "TOKEN_KEY").encode())
        return cls(_kept_secret(settings.home / "token.key"))


def _read_keys(settings: Settings) -> list[_Key]:
    keys = []
    if api_key := settings.api_key.get_secret_value():
        keys.append(_Key(_digest(_sendable(api_key, "API_KEY")), Caller("api-key")))
    if settings.api_keys_file is not None:
        keys += [_read_key(entry) for entry in _read_list(settings.api_keys_file)]
    if len({key.digest for key in keys}) < len(keys):
        raise ConfigurationError(
            "Two entries of API_KEYS_FILE, or one and API_KEY, are the same key; it would not "
            "be known whose call one is."
        )
    return keys


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _long_enough(secret: str, name: str) -> str:
    if len(secret) < _SHORTEST_KEY:
        raise ConfigurationError(
            f"{name} has {len(secret)} characters; give it at least {_SHORTEST_KEY}, for example "
            "from: python3 -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return secret


def _sendable(key: str, name: str) -> str:
    """Refuse a key that no header can carry: nobody could ever call with it."""
    if not is_sendable(key):
        raise ConfigurationError(
            f"{name} begins or ends with a blank, or has characters beyond printable ASCII; an "
            "Authorization header cannot carry it."
        )
    return _long_enough(key, name)


def _read_list(path: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(
            f"API_KEYS_FILE {path} cannot be read: {error.strerror}."
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"API_KEYS_FILE {path} is not JSON: {error}.") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigurationError(
            f"API_KEYS_FILE {path} must be a list of objects with name, key and optional scopes."
        )
    if not entries:
        # Without keys everybody would be the operator: not what this file is there for.
        raise ConfigurationError(f"API_KEYS_FILE {path} holds no key; write one, or unset it.")
    return entries


def _read_key(entry: dict[str, Any]) -> _Key:
    name = entry.get("name")
    unknown = set(entry) - {"name", "key", "sha256", "scopes"}
    scopes = entry.get("scopes")
    listed = scopes is None or (
        isinstance(scopes, list) and scopes and all(isinstance(s, str) and s for s in scopes)
    )
    if not isinstance(name, str) or not name or unknown or not listed:
        raise ConfigurationError(
            f"API_KEYS_FILE: entry {name!r} must have a name, a key or sha256, and scopes that are "
            f"a list of names or absent{f'; unknown: {sorted(unknown)}' if unknown else ''}."
        )
    caller = Caller(name, None if scopes is None else frozenset(scopes))
    if isinstance(entry.get("key"), str):
        return _Key(_digest(_sendable(entry["key"], f"The key of {name!r}")), caller)
    try:
        digest = bytes.fromhex(entry["sha256"])
    except (KeyError, TypeError, ValueError):
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise ConfigurationError(f"API_KEYS_FILE: entry {name!r} has neither key nor sha256.")
    return _Key(digest, caller)


def _kept_secret(path: Path) -> bytes:
    """Return the secret kept at `path`; processes that race to make it agree on one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    candidate = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    if not path.exists():
        try:
            descriptor = os.open(candidate, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(candidate, path)
        finally:
            candidate.unlink(missing_ok=True)
        # Without it no worker that was claimed could be claimed again.
        sync_folder(path.parent)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigurationError(f"{path} can be read by others; run: chmod 600 {path}")
    return path.read_text().strip().encode()
