"""Objects of the API server as the rest of this package may rely on them to be. Pure.

What answers may be a proxy, an admission controller may have changed any field, and a later version
may mean something else by it. What cannot be understood is left out, or refused: a sandbox is never
called gone, and never ended, because of it.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.errors import RuntimeUnavailableError
from oneseek_sandbox.runtimes.kubernetes.pod_metadata import CLAIMED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from oneseek_sandbox.runtimes.kubernetes.api import Resource

__all__ = ["number_at", "readable_pod", "readable_pods", "text_at", "understood"]

log = logging.getLogger(__name__)

_END: Final = {"reason": str, "message": str, "exitCode": int}
_STATE: Final = {
    "running": {},
    "waiting": {"reason": str, "message": str},
    "terminated": _END,
}
_STATUS: Final = {
    "phase": str,
    "reason": str,
    "message": str,
    "podIP": str,
    "hostIP": str,
    "conditions": [{"reason": str, "message": str}],
    "containerStatuses": [
        {"image": str, "restartCount": int, "state": _STATE, "lastState": {"terminated": _END}}
    ],
}


def readable_pod(value: object) -> Resource:
    """Return a pod with the fields that are read here, each of its own type or left out.

    Raises:
        RuntimeUnavailableError: It does not say which pod it is: nothing follows from it.
    """
    pod = value if isinstance(value, dict) else {}
    metadata = pod.get("metadata")
    if not isinstance(metadata, dict) or not all(_text(metadata, key) for key in ("uid", "name")):
        raise RuntimeUnavailableError(
            "The Kubernetes API server answered with what is no pod. Try again; if this persists, "
            "look at what stands between this server and the cluster."
        )
    annotations = metadata.get("annotations")
    if not isinstance(annotations, dict):
        # None is how Go writes no annotations. Of others nobody knows whether it was claimed.
        annotations = {} if annotations is None else {CLAIMED: ""}
    kept = {key: metadata[key] for key in ("uid", "name")}
    kept["resourceVersion"] = _text(metadata, "resourceVersion")
    if ending := _text(metadata, "deletionTimestamp"):
        kept["deletionTimestamp"] = ending
    return {
        "metadata": {**kept, "annotations": annotations},
        "status": _taken(pod.get("status"), _STATUS) or {},
    }


def readable_pods(values: Iterable[object]) -> list[Resource]:
    """Return those of a list that say which pod they are; the log tells of others."""
    found = []
    for value in values:
        try:
            found.append(readable_pod(value))
        except RuntimeUnavailableError as error:
            log.warning("Passed over one of a list of pods: %s", error)
    return found


def text_at(value: object, *path: str) -> str:
    """Return the text at a path of fields; empty when there is none."""
    found = _at(value, path)
    return found if isinstance(found, str) else ""


def number_at(value: object, *path: str, default: int = 0) -> int:
    """Return the whole number at a path of fields."""
    found = _at(value, path)
    return found if type(found) is int else default


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Read an object as it should be; inside, what is not there is an error of the runtime.

    Raises:
        RuntimeUnavailableError: A field is missing, or of another type.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise RuntimeUnavailableError(
            f"{what} cannot be understood ({type(error).__name__}: {str(error)[:200]})."
        ) from error


def _at(value: object, path: tuple[str, ...]) -> object:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _text(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def _taken(value: object, shape: Any) -> Any:  # noqa: ANN401 - whatever the shape is
    """Return what of a value has this shape; None when nothing of it has."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return None
        taken = {key: _taken(value.get(key), inner) for key, inner in shape.items()}
        return {key: item for key, item in taken.items() if item is not None}
    if isinstance(shape, list):
        # What is no object stays as an empty one: a pod must not look as if it had fewer of them.
        return [_taken(item, shape[0]) or {} for item in value] if isinstance(value, list) else None
    return value if type(value) is shape else None
