"""DeerFlow's paths and a sandbox's own."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["FOLDERS", "VIRTUAL_ROOT", "VirtualPaths"]

VIRTUAL_ROOT: Final = "/mnt/user-data"
FOLDERS: Final = ("workspace", "uploads", "outputs")


class VirtualPaths:
    """Maps `/mnt/user-data` to a sandbox's workspace and back.

    A server with PROVISIONER_WORKSPACE_DIR=/mnt/user-data has these very paths, and nothing is
    mapped: only then do programs find them that have them inside. Otherwise the workspace is
    DeerFlow's, with uploads and outputs as folders in it.

    Args:
        workspace: The sandbox's.
    """

    def __init__(self, workspace: str) -> None:
        self.workspace = workspace
        self._is_same = workspace == VIRTUAL_ROOT
        self._real = {
            f"{VIRTUAL_ROOT}/uploads": f"{workspace}/uploads",
            f"{VIRTUAL_ROOT}/outputs": f"{workspace}/outputs",
            f"{VIRTUAL_ROOT}/workspace": workspace,
            VIRTUAL_ROOT: workspace,
        }
        choices = "|".join(map(re.escape, self._real))
        self._pattern = re.compile(rf"(?<![\w./-])(?:{choices})(?![\w.-])")

    @property
    def folders(self) -> list[str]:
        """What DeerFlow expects to be there."""
        names = FOLDERS if self._is_same else FOLDERS[1:]
        return [f"{self.workspace}/{name}" for name in names]

    def real(self, path: str) -> str:
        """Return where a path is in the sandbox; one of the sandbox's own is taken as it is.

        Raises:
            PermissionError: It is in none of these places, or has `..`.
        """
        if ".." in path.replace("\\", "/").split("/"):
            raise PermissionError(f"Access denied: path traversal detected in '{path}'")
        if _is_below(path, self.workspace):
            return path
        for virtual, real in self._real.items():
            if _is_below(path, virtual):
                return real + path.removeprefix(virtual)
        raise PermissionError(f"Access denied: path must be under '{VIRTUAL_ROOT}': '{path}'")

    def virtual(self, path: str) -> str:
        """Return DeerFlow's name of a path in the sandbox."""
        if self._is_same:
            return path
        for virtual, real in self._real.items():
            if _is_below(path, real):
                return virtual + path.removeprefix(real)
        return path

    def in_command(self, command: str) -> str:
        """Return a command line with its paths as they are in the sandbox."""
        if self._is_same:
            return command
        return self._pattern.sub(lambda match: self._real[match.group()], command)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")
