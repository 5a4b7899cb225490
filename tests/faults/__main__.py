"""Judge a stored history again: `python -m tests.faults check history.jsonl`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.faults.checker import check
from tests.faults.history import History

USAGE = "usage: python -m tests.faults check HISTORY.jsonl..."


def main(arguments: list[str]) -> int:
    """Print what the histories break; 1 when they break anything."""
    if len(arguments) < 2 or arguments[0] != "check":
        print(USAGE, file=sys.stderr)
        return 2
    broken = 0
    for path in arguments[1:]:
        history = History.read(Path(path))
        findings = check(history)
        broken += bool(findings)
        print(f"{path}: {len(history.calls)} calls, {len(findings)} findings")
        for finding in findings:
            print(f"  {finding}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
