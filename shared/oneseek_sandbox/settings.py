"""Every setting of the server side, read from `PROVISIONER_*` and checked at start.

The only module that reads the environment. `docs/settings.md` has a line for each field; a test
holds it complete.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from oneseek_sandbox.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PREFIX", "Settings", "unknown_settings", "variables"]

PREFIX = "PROVISIONER_"
_IN_A_POD = "KUBERNETES_SERVICE_HOST"  # the cluster sets it
# Kubernetes describes a Service that is called "provisioner" to every pod beside it.
_SERVICE_LINK = re.compile(
    r"PROVISIONER_((SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)=.*|PORT=\w+://.*)"
)
_WITHOUT_PREFIX = {"port": "PORT"}  # PORT is Knative's own name for it

_DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_DNS_NAME_OR_EMPTY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"
_Quantity = Annotated[str, Field(pattern=r"^([0-9]+(\.[0-9]+)?([EPTGMk]i?|m|[eE][0-9]+)?)?$")]
"""A Kubernetes quantity like `500m` or `2Gi`; empty for none."""


def _default_home() -> Path:
    """Return `/var/lib/oneseek-sandbox` for root, the XDG state folder for everybody else."""
    if os.geteuid() == 0:
        return Path("/var/lib/oneseek-sandbox")
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")  # noqa: TID251
    return Path(state) / "oneseek-sandbox"


class Settings(BaseModel):
    """The settings, validated. Field names are the environment's, lower case, without the prefix."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Where and for whom
    port: Annotated[int, Field(ge=0, le=65535)] = 8002
    host: str = "127.0.0.1"
    api_key: SecretStr = SecretStr("")
    api_keys_file: Path | None = None
    allow_no_key: bool = False
    allowed_hosts: str = ""
    home: Path = Field(default_factory=_default_home)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    # The lease store
    state_store: Literal["auto", "redis", "file"] = "auto"
    redis_url: SecretStr = SecretStr("")
    redis_prefix: Annotated[str, Field(min_length=1, pattern=r"^[^{}\s]+$")] = "oneseek"
    token_key: SecretStr = SecretStr("")

    # Sandboxes
    runtime: Literal["auto", "local", "docker", "kubernetes"] = "auto"
    workspace_dir: Annotated[str, Field(pattern=r"^/[^/\x00]+(/[^/\x00]+)*$")] = "/workspace"
    file_scope: Literal["workspace", "sandbox"] = "workspace"
    idle_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 900
    max_lifetime_seconds: Annotated[int, Field(ge=0)] = 0
    max_sandboxes: Annotated[int, Field(ge=0)] = 0
    startup_timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 120
    cleanup_interval_seconds: Annotated[int, Field(ge=1, le=86_400)] = 60
    sweep_interval_seconds: Annotated[int, Field(ge=1, le=86_400)] = 180

    # Operations
    max_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 600
    max_output_bytes: Annotated[int, Field(ge=1024, le=67_108_864)] = 1_000_000
    output_limit_bytes: Annotated[int, Field(ge=1024, le=67_108_864)] = 10_485_760
    max_request_bytes: Annotated[int, Field(ge=65_536, le=1_073_741_824)] = 16_777_216
    max_file_bytes: Annotated[int, Field(ge=65_536)] = 268_435_456
    max_commands: Annotated[int, Field(ge=1, le=1024)] = 64
    max_background_seconds: Annotated[int, Field(ge=1, le=86_400)] = 3600
    process_log_bytes: Annotated[int, Field(ge=65_536, le=16_777_216)] = 1_048_576
    shutdown_grace_seconds: Annotated[int, Field(ge=0, le=3600)] = 30

    # Sandboxes on this machine
    network: Literal["off", "on"] = "off"
    memory_limit_mb: Annotated[int, Field(ge=64)] = 2048
    process_limit: Annotated[int, Field(ge=16)] = 512
    cpu_limit: Annotated[float, Field(ge=0, le=1024)] = 0
    tmp_limit_mb: Annotated[int, Field(ge=1)] = 256
    disk_limit_mb: Annotated[int, Field(ge=0)] = 2048
    min_free_disk_mb: Annotated[int, Field(ge=0)] = 512

    # Sandboxes on Kubernetes
    namespace: Annotated[str, Field(pattern=_DNS_LABEL, max_length=63)] = "oneseek-sandbox"
    kubectl_context: str = ""
    kubectl_binary: str = "kubectl"
    sandbox_image: Annotated[str, Field(pattern=r"^\S+$")] = "python:3.12-slim"
    worker_container_name: Annotated[str, Field(pattern=_DNS_LABEL, max_length=63)] = "sandbox"
    pod_prefix: Annotated[str, Field(pattern=_DNS_LABEL, max_length=40)] = "oneseek-sb"
    warm_pool_size: Annotated[int, Field(ge=0, le=10_000)] = 0
    allow_open_network: bool = False
    runtime_class: Annotated[str, Field(pattern=_DNS_NAME_OR_EMPTY)] = ""
    pod_cidr: str = ""
    pod_cpu_request: _Quantity = ""
    pod_cpu_limit: _Quantity = ""
    pod_memory_request: _Quantity = ""
    pod_memory_limit: _Quantity = ""
    pod_disk_limit: _Quantity = "2Gi"
    pod_patch_file: Path | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_lifetime_seconds and self.max_lifetime_seconds < self.idle_timeout_seconds:
            raise ValueError(
                "PROVISIONER_MAX_LIFETIME_SECONDS must be 0, or at least PROVISIONER_IDLE_TIMEOUT_SECONDS"
            )
        if self.state_store == "redis" and not self.redis_url.get_secret_value():
            raise ValueError("PROVISIONER_STATE_STORE=redis needs PROVISIONER_REDIS_URL")
        if self.state_store == "file" and self.runtime == "kubernetes":
            raise ValueError(
                "PROVISIONER_STATE_STORE=file is for one machine; where PROVISIONER_RUNTIME is "
                "kubernetes (as auto is inside a pod), replicas would not share the file: set "
                "PROVISIONER_STATE_STORE=redis and PROVISIONER_REDIS_URL"
            )
        for cidr in self.pod_cidrs:
            ipaddress.ip_network(cidr)
        return self

    @property
    def memory_limit_in_words(self) -> str:
        """What a command that met the memory limit of its sandbox is told."""
        if self.runtime == "kubernetes":
            return self.pod_memory_limit or "of its namespace's LimitRange"
        return f"{self.memory_limit_mb} MB"

    @property
    def disk_options(self) -> tuple[str, ...]:
        """What a worker that shares its disk with others is told about it."""
        limit, floor = self.disk_limit_mb * 1024**2, self.min_free_disk_mb * 1024**2
        return ("--disk-limit", str(limit), "--disk-floor", str(floor))

    def scope_options(self, *private: str) -> tuple[str, ...]:
        """What a worker is told about the paths that it serves.

        Args:
            private: What the worker itself lives on, inside; nobody reads or writes that by a verb.
        """
        if self.file_scope == "workspace":
            return ()
        hidden = (option for path in private for option in ("--private", path))
        return ("--file-scope", self.file_scope, *hidden)

    @property
    def pod_cidrs(self) -> list[str]:
        """The networks of POD_CIDR, one by one."""
        return [cidr.strip() for cidr in self.pod_cidr.split(",") if cidr.strip()]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings, by default from the process's environment.

        Empty values count as not set, as Kubernetes manifests often leave them.

        Raises:
            ConfigurationError: A value is not acceptable; the message names the variable.
        """
        source = os.environ if environment is None else environment  # noqa: TID251
        values = {
            name: source[variable]
            for name, variable in variables().items()
            if source.get(variable, "") != ""
        }
        if _IN_A_POD in source and values.get("runtime", "auto") == "auto":
            values["runtime"] = "kubernetes"
        elif sys.platform == "darwin" and values.get("runtime", "auto") == "auto":
            values["runtime"] = "docker"
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            lines = "; ".join(_explain(detail) for detail in error.errors(include_input=False))
            raise ConfigurationError(f"Settings: {lines}") from None


def variables() -> dict[str, str]:
    """Return the environment variable of every setting."""
    return {
        name: _WITHOUT_PREFIX.get(name, PREFIX + name.upper()) for name in Settings.model_fields
    }


def unknown_settings(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return a sentence for each `PROVISIONER_*` variable that is none of ours, with the nearest one."""
    source = os.environ if environment is None else environment  # noqa: TID251
    known = set(variables().values())
    return [
        f"{name} is not a setting{_nearest(name, known)}"
        for name in sorted(source)
        if name.startswith(PREFIX)
        and name not in known
        and not _SERVICE_LINK.fullmatch(f"{name}={source[name]}")
    ]


def _nearest(name: str, known: set[str]) -> str:
    bare = name.removeprefix(PREFIX)
    near = [bare] if bare in known else difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else "."


def _explain(detail: object) -> str:
    location, message = detail["loc"], detail["msg"]  # type: ignore[index]
    name = variables().get(str(location[0]), "") if location else ""
    return f"{name}: {message}" if name else str(message).removeprefix("Value error, ")
