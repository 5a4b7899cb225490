"""`oneseek-sandbox serve` in which the making of a sandbox hangs in its thread, for ever.

Usage: hanging_server.py serve; HANGS_FILE names the file that is made when it does.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from oneseek_sandbox.cli import main
from oneseek_sandbox.runtimes.local.sandboxes import Sandboxes


def hang(*_: object) -> None:
    Path(os.environ["HANGS_FILE"]).touch()
    threading.Event().wait()


if __name__ == "__main__":
    Sandboxes.create = hang
    sys.exit(main())
