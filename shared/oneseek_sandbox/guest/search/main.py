"""Reads a request (`SearchRequest` of `adapters/search.py`) from standard input, and prints the answer.

Both are JSON. No shell and no other tool sees a name, so names may have colons, newlines and bytes
that are no UTF-8: paths are bytes here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.search.base import REASONS, Found, Refused, decoded, kernel_devices
from oneseek_sandbox.guest.search.grep import grep
from oneseek_sandbox.guest.search.walk import glob

if TYPE_CHECKING:
    from typing import Any

__all__ = ["check_place", "delete", "main"]


def delete(request: dict[str, Any], found: Found) -> None:
    """Delete a file, a link, or a directory with all that is in it."""
    path = decoded(request["path"])
    os.lstat(path)
    # Not shutil.rmtree: before Python 3.13 it recurses, and a tree may be a thousand levels deep.
    ended = subprocess.run(
        ["rm", "-rf", "--", path], stderr=subprocess.PIPE, env={"PATH": os.defpath, "LC_ALL": "C"}
    )
    if ended.returncode:
        reason = ended.stderr.decode("utf-8", "replace").strip().rsplit(": ", 1)[-1]
        raise Refused(next((c for n, c in REASONS.items() if os.strerror(n) == reason), reason))
    found.add(request["path"])


def check_place(request: dict[str, Any]) -> None:
    """Refuse what links lead out of the workspace, or of all files; a deleted name may be a link."""
    path, deleting = decoded(request["path"]), request["do"] == "delete"
    workspace = os.path.realpath(decoded(request["workspace"]))
    if deleting and os.path.realpath(path) == workspace:
        raise Refused("is_workspace")
    real = os.path.realpath(os.path.dirname(path) if deleting else path)
    if request["anywhere"]:
        if os.stat(real).st_dev in kernel_devices():
            raise Refused("permission_denied")
        return
    if real != workspace and not real.startswith(workspace + b"/"):
        raise Refused("invalid_path")


def main() -> None:
    """Do what standard input says."""
    request = json.load(sys.stdin)
    found, error = Found(request), None
    try:
        check_place(request)
        {"glob": glob, "grep": grep, "delete": delete}[request["do"]](request, found)
    except Refused as refused:
        error = str(refused)
    except OSError as problem:
        error = REASONS.get(problem.errno or 0, str(problem.strerror))
    json.dump({"error": error, "results": found.results, "cut": found.cut}, sys.stdout)


if __name__ == "__main__":
    main()
