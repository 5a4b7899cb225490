"""What it means when the API server says no, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from oneseek_sandbox.errors import (
    CapacityError,
    RuntimeUnavailableError,
    SandboxError,
    SandboxStartError,
)

if TYPE_CHECKING:
    from oneseek_sandbox.runtimes.kubernetes.api import ApiRefusalError

__all__ = ["creation_refusal", "refusal"]

_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_UNPROCESSABLE: Final = 422


def refusal(error: ApiRefusalError, namespace: str) -> SandboxError:
    """Return the error for a refused call."""
    if error.status == _NOT_FOUND and "namespaces" in error.message:
        return _no_namespace(namespace)
    if error.status == _FORBIDDEN:
        return RuntimeUnavailableError(
            f"The cluster does not allow it: {error.message} Apply the Roles of the manifests."
        )
    return RuntimeUnavailableError(
        f"The Kubernetes API server refuses ({error.status} {error.reason}): {error.message}"
    )


def creation_refusal(error: ApiRefusalError, namespace: str) -> SandboxError:
    """Return the error for a pod that was not created."""
    if error.status == _FORBIDDEN and "exceeded quota" in error.message:
        return CapacityError(
            f"The namespace {namespace} has no quota left for another sandbox. Try again when "
            "others have ended, or raise its ResourceQuota."
        )
    if error.status == _UNPROCESSABLE or "violates PodSecurity" in error.message:
        return SandboxStartError(
            f"The cluster does not accept the sandbox's pod: {error.message} Correct the "
            "PROVISIONER_POD_* settings."
        )
    return refusal(error, namespace)


def _no_namespace(namespace: str) -> SandboxError:
    return RuntimeUnavailableError(
        f"The namespace {namespace} (PROVISIONER_NAMESPACE) does not exist. Deploy the manifests, "
        "or create it."
    )
