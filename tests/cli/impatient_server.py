"""`oneseek-sandbox serve` that waits for three seconds, not thirty, for callers that take nothing."""

from __future__ import annotations

import sys

from oneseek_sandbox.cli import main
from oneseek_sandbox.http import streams

if __name__ == "__main__":
    streams._PATIENCE_SECONDS = 3.0
    sys.exit(main())
