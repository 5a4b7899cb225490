"""`oneseek-sandbox serve` with a shorter creation lease, so that pauses outlast one in a schedule.

Usage: gateway.py serve; FAULTS_PLANTED names a defect to work with (`planted.py`).
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

from oneseek_sandbox.cli import main
from oneseek_sandbox.control import assembly

CREATION_MS = 3_000


def shorten_creation_leases() -> None:
    whole = assembly.lease_terms
    assembly.lease_terms = lambda settings: dataclasses.replace(
        whole(settings), creation_ms=CREATION_MS
    )


if __name__ == "__main__":
    shorten_creation_leases()
    if planted := os.environ.get("FAULTS_PLANTED"):
        sys.path.insert(0, str(Path(__file__).parent))
        import planted as defects  # type: ignore[import-not-found]

        defects.plant(planted)
    sys.exit(main())
