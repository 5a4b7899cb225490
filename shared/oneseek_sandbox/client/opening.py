"""From a backend's settings to its sandboxes."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from oneseek_sandbox.errors import ConfigurationError

if TYPE_CHECKING:
    from oneseek_sandbox.client.sandboxes import Sandboxes
    from oneseek_sandbox.client.settings import BackendSettings
    from oneseek_sandbox.settings import Settings

__all__ = ["connect"]

log = logging.getLogger(__name__)


def connect(settings: BackendSettings, *, server: Settings | None = None) -> Sandboxes:
    """Return the sandboxes that the settings ask for, not yet open.

    Args:
        server: For `local` and `docker`: the settings of the server side that have no backend name,
            like HOME or limits; read from `PROVISIONER_*` when left out.

    Raises:
        ConfigurationError: They are disabled, or the settings do not fit together. There is no
            other way to fall back to.
    """
    if not settings.sandbox_enabled:
        raise ConfigurationError(
            "Sandboxes are disabled: sandbox_enabled is false. Commands of an agent run nowhere "
            "else; enable them, or leave the tools out."
        )
    if settings.sandbox_mode == "provisioner":
        from oneseek_sandbox.client.remote import RemoteSandboxes

        if (
            settings.sandbox_state_store != "auto"
            or settings.sandbox_state_redis_url.get_secret_value()
        ):
            _note_unused_store()
        return RemoteSandboxes(
            settings.sandbox_provisioner_url,
            settings.sandbox_provisioner_api_key.get_secret_value(),
        )
    from oneseek_sandbox.client.embedded import EmbeddedSandboxes

    return EmbeddedSandboxes(_server_settings(settings, server))


@functools.cache
def _note_unused_store() -> None:
    log.warning(
        "sandbox_state_store and sandbox_state_redis_url are not used in mode provisioner: the "
        "functions keep the leases."
    )


def _server_settings(settings: BackendSettings, server: Settings | None) -> Settings:
    from oneseek_sandbox.settings import Settings, unknown_settings

    if server is None:
        for unknown in unknown_settings():
            log.warning("%s It is ignored.", unknown)
    base = Settings.from_environment() if server is None else server
    values: dict[str, Any] = base.model_dump(exclude_unset=True)
    url = settings.sandbox_state_redis_url
    store = settings.sandbox_state_store
    if store == "redis" and not url.get_secret_value():
        raise ConfigurationError(
            "sandbox_state_store is redis, and sandbox_state_redis_url is empty. Set it, or take "
            "the store 'file'."
        )
    in_redis = store == "redis" or (store == "auto" and bool(url.get_secret_value()))
    wanted = {
        **values,
        "runtime": settings.sandbox_mode,
        "state_store": "redis" if in_redis else "file",
        "redis_url": url if in_redis else "",
        "idle_timeout_seconds": settings.sandbox_idle_timeout_seconds,
    }
    try:
        return Settings.model_validate(wanted)
    except ValidationError as error:
        problems = "; ".join(detail["msg"] for detail in error.errors(include_input=False))
        raise ConfigurationError(f"Sandbox settings: {problems}") from None
