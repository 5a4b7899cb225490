"""POD_PATCH_FILE: what this cluster needs of a sandbox's pod, laid over the one we make.

Objects are merged key by key, lists of named objects (containers, volumes, env) by name, other
lists (tolerations, pull secrets) are appended to; `null` removes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from oneseek_sandbox.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from oneseek_sandbox.runtimes.kubernetes.api import Resource

__all__ = ["patched", "read_pod_patch"]


def read_pod_patch(path: Path | None) -> Resource:
    """Return the patch of a pod's `spec`, from YAML or JSON.

    Raises:
        ConfigurationError: It cannot be read, or is no mapping with `spec` alone.
    """
    if path is None:
        return {}
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigurationError(f"POD_PATCH_FILE {path}: {error}") from error
    if not isinstance(document, dict) or set(document) != {"spec"}:
        raise ConfigurationError(f"POD_PATCH_FILE {path}: give a mapping with 'spec:' and no more.")
    if not isinstance(document["spec"], dict):
        raise ConfigurationError(f"POD_PATCH_FILE {path}: 'spec' must be a mapping.")
    return document["spec"]


def patched(value: Any, patch: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return `value` with `patch` laid over it."""
    if isinstance(value, dict) and isinstance(patch, dict):
        merged = {key: item for key, item in value.items() if key not in patch}
        for key, item in patch.items():
            if item is not None:
                merged[key] = patched(value[key], item) if key in value else item
        return merged
    if isinstance(value, list) and isinstance(patch, list):
        return _merged_list(value, patch)
    return patch


def _merged_list(items: list[Any], patches: list[Any]) -> list[Any]:
    merged = list(items)
    for patch in patches:
        name = patch.get("name") if isinstance(patch, dict) else None
        at = [n for n, item in enumerate(merged) if name and item.get("name") == name]
        if at:
            merged[at[0]] = patched(merged[at[0]], patch)
        else:
            merged.append(patch)
    return merged
