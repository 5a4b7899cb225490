"""`oneseek-sandbox serve` in which the making of a sandbox hangs in its thread, for ever.

It waits for a second, and not for 25 and 5, for what does not end.

Usage: hanging_server.py serve; HANGS_FILE names the file that is made when it does.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from oneseek_sandbox.cli import main
from oneseek_sandbox.gateway import serve
from oneseek_sandbox.runtimes.local.sandboxes import Sandboxes


def hang(*_: object) -> None:
    Path(os.environ["HANGS_FILE"]).touch()
    threading.Event().wait()


if __name__ == "__main__":
    Sandboxes.create = hang
    serve._CLOSE_SECONDS = serve._THREAD_SECONDS = 1
    sys.exit(main())
