"""What a backend's own side meets, beyond what the service says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from oneseek_sandbox.errors.leases import SandboxGoneError
from oneseek_sandbox.errors.service import UnavailableError

if TYPE_CHECKING:
    from oneseek_sandbox.errors.base import SandboxError

__all__ = ["SandboxReplacedError", "ServerUnreachableError"]


class ServerUnreachableError(UnavailableError):
    """Raised by the client when a provisioner cannot be reached, or its response was cut off."""

    code = "server_unreachable"


class SandboxReplacedError(SandboxGoneError):
    """Raised by the client when a call's sandbox was gone, and a new one has been acquired.

    Attributes:
        sandbox_id: Of the sandbox that is there now.
        workspace_is_new: The files of before are not in it; else they are.
    """

    code = "sandbox_replaced"
    sandbox_id: str = ""
    workspace_is_new: bool = True

    @classmethod
    def after(cls, gone: SandboxError, *, sandbox_id: str, workspace_is_new: bool) -> Self:
        """Return the error for a call that was told `gone`."""
        files = (
            "a new one with an empty workspace is ready, and the files of before are gone"
            if workspace_is_new
            else "it is ready again, with its files"
        )
        ran = (
            "The call may have taken effect; look before you repeat it."
            if gone.may_have_run
            else "The call was not done: repeat it if it still makes sense."
        )
        replaced = cls(
            f"The sandbox was gone ({gone.code}); {files}. {ran}",
            may_have_run=bool(gone.may_have_run),
        )
        replaced.sandbox_id = sandbox_id
        replaced.workspace_is_new = workspace_is_new
        return replaced
