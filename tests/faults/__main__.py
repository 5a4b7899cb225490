"""Judge a stored history again, or run a simulated schedule by its seed.

python -m tests.faults check history.jsonl
python -m tests.faults simulate 371 [history.jsonl]
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.faults.checker import check
from tests.faults.history import History
from tests.faults.simulation.schedule import simulate

USAGE = "usage: python -m tests.faults check HISTORY... | simulate SEED [HISTORY]"


def main(arguments: list[str]) -> int:
    """Print what the histories break; 1 when they break anything."""
    match arguments:
        case ["check", first, *others]:
            return max(_judge(path, History.read(Path(path))) for path in [first, *others])
        case ["simulate", seed, *path] if len(path) <= 1 and seed.isdecimal():
            history = simulate(int(seed))
            for kept in path:
                history.write(Path(kept))
            return _judge(f"seed {seed}", history)
    print(USAGE, file=sys.stderr)
    return 2


def _judge(name: str, history: History) -> int:
    findings = check(history)
    print(f"{name}: {len(history.calls)} calls, {len(findings)} findings")
    for finding in findings:
        print(f"  {finding}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
