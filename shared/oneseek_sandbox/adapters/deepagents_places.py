"""Where the files of a deepagents backend are, and how they are searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from oneseek_sandbox.adapters.search import SearchRequest
from oneseek_sandbox.paths import in_sandbox

__all__ = ["KEPT", "Places"]

KEPT: Final = ".deepagents"
"""The folder in the workspace with what deepagents itself keeps."""
_ARTIFACTS: Final = ("/large_tool_results", "/conversation_history")


@dataclass(frozen=True)
class Places:
    """The paths that a backend accepts.

    Attributes:
        anywhere: Not only those in the workspace, as the server has it.
    """

    workspace: str
    anywhere: bool

    def inside(self, path: str) -> str:
        """Return a path as the verbs take it; what deepagents keeps beside it is in the workspace.

        Raises:
            PathOutsideWorkspaceError: It is not absolute, or not accepted.
        """
        if any(path == name or path.startswith(name + "/") for name in _ARTIFACTS):
            path = f"{self.workspace}/{KEPT}{path}"
        return in_sandbox(path, self.workspace, anywhere=self.anywhere)

    def root(self, path: str | None) -> str:
        """Return where to look: in the workspace, when that is not said."""
        if not path or (path == "/" and not self.anywhere):
            return self.workspace
        return self.inside(path).rstrip("/") or "/"

    def search(
        self,
        do: Literal["glob", "grep", "delete"],
        path: str,
        **more: Any,  # noqa: ANN401 - further fields of a search
    ) -> SearchRequest:
        """Return the request for a search."""
        return SearchRequest(do, path, self.workspace, anywhere=self.anywhere, **more)
