"""The settings of a backend: which sandboxes, where, and how its tools use them.

By the same names from the environment (`SANDBOX_MODE`), a dictionary, or the `runtime_hitl` object
of a chat. `docs/backend.md` has a line for each; a test holds it complete.
"""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from oneseek_sandbox.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

__all__ = ["BackendSettings"]

_PREFIX = "sandbox_"
_CLOSE = 0.8
"""How alike two names must be, without the prefix: PROVISIONER_KEY is 0.88, NODE for MODE 0.75."""


def _without_alias(mode: object) -> object:
    return "provisioner" if mode == "remote" else mode


class BackendSettings(BaseModel):
    """The settings, validated.

    Attributes:
        sandbox_enabled: When false, asking for sandboxes is an error, never another way.
        sandbox_mode: `local` (bubblewrap, in this process), `docker` (an engine, in this process) or
            `provisioner` (HTTP to the functions; `remote` means the same).
        sandbox_state_store: Where `local` and `docker` keep leases. `auto`: Redis when its URL is
            set, else a file. Not used in mode `provisioner`.
        sandbox_idle_timeout_seconds: 1 to 86400; a sandbox that nothing is done with ends.
        sandbox_timeout_seconds: 0.1 upwards; the limit of a command that names none.
        sandbox_max_output_bytes: 1024 upwards; the most that a tool shows a model in one answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sandbox_enabled: bool = True
    sandbox_mode: Annotated[
        Literal["local", "docker", "provisioner"], BeforeValidator(_without_alias)
    ] = "local"
    sandbox_provisioner_url: str = "http://127.0.0.1:8002"
    sandbox_provisioner_api_key: SecretStr = SecretStr("")
    sandbox_state_store: Literal["file", "redis", "auto"] = "auto"
    sandbox_state_redis_url: SecretStr = SecretStr("")
    sandbox_idle_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 900
    sandbox_timeout_seconds: Annotated[float, Field(ge=0.1, allow_inf_nan=False)] = 30
    sandbox_max_output_bytes: Annotated[int, Field(ge=1024)] = 100_000

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read `SANDBOX_*` variables; empty ones count as not set.

        Raises:
            ConfigurationError: A value is not acceptable, or a name is nearly that of a setting;
                the message names it. Names that are farther away are somebody else's.
        """
        source = os.environ if environment is None else environment  # noqa: TID251
        _refuse_misspelt(source, [name.upper() for name in cls.model_fields])
        values = {name: source.get(name.upper(), "") for name in cls.model_fields}
        return cls.from_mapping({name: value for name, value in values.items() if value != ""})

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Read a dictionary, like a chat's `runtime_hitl`; what is not about sandboxes is left out.

        Raises:
            ConfigurationError: A value is not acceptable, or a name that begins with `sandbox_` is
                none of these.
        """
        ours = {name: value for name, value in values.items() if name.startswith(_PREFIX)}
        try:
            return cls.model_validate(ours)
        except ValidationError as error:
            lines = [
                _explain(detail, list(cls.model_fields))
                for detail in error.errors(include_input=False, include_url=False)
            ]
            raise ConfigurationError(f"Sandbox settings: {'; '.join(lines)}") from None

    def over(self, values: Mapping[str, Any]) -> Self:
        """Return these settings with a chat's `runtime_hitl` on top.

        A key goes to no other address than it was given with: with a URL of its own, a chat brings
        its own key.
        """
        base = self.model_dump()
        if values.get("sandbox_provisioner_url", self.sandbox_provisioner_url) != (
            self.sandbox_provisioner_url
        ):
            del base["sandbox_provisioner_api_key"]
        return self.from_mapping({**base, **values})


def _explain(detail: ErrorDetails, known: list[str]) -> str:
    name = ".".join(map(str, detail["loc"]))
    if detail["type"] != "extra_forbidden":
        return f"{name}: {detail['msg']}"
    near = difflib.get_close_matches(name, known, n=1)
    return f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else "")


def _refuse_misspelt(environment: Mapping[str, str], known: list[str]) -> None:
    """Refuse names that differ from a setting by a letter or two, or lack its unit."""
    bare = {name.removeprefix(_PREFIX.upper()): name for name in known}
    for name in sorted(environment):
        if not name.startswith(_PREFIX.upper()) or name in known:
            continue
        ours = name.removeprefix(_PREFIX.upper())
        near = [f"{ours}{unit}" for unit in ("_SECONDS", "_BYTES") if f"{ours}{unit}" in bare]
        near += difflib.get_close_matches(ours, bare, n=1, cutoff=_CLOSE)
        if near:
            raise ConfigurationError(
                f"Sandbox settings: {name} is not a setting; did you mean {bare[near[0]]}? "
                "Correct or unset it."
            )
