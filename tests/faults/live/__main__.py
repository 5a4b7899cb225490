"""Run live schedules: `python -m tests.faults.live [--first SEED] [--count N] [--keep FOLDER]`.

A failure does not end the run: its history, findings and logs go to a folder, and all are summed up
at the end. `--seed 17 --again 5` runs one seed five times.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from tests.faults.live.drive import Run, run_schedule
from tests.faults.live.schedule import make_schedule, may_mount


def main() -> int:
    """Run, tell, and return 1 when anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.live", description=__doc__)
    parser.add_argument("--first", type=int, default=1, help="first seed")
    parser.add_argument("--count", type=int, default=20, help="how many seeds")
    parser.add_argument("--seed", type=int, help="this seed alone")
    parser.add_argument("--again", type=int, default=1, help="how often each")
    parser.add_argument("--keep", type=Path, default=Path(".faults"), help="for failures")
    parser.add_argument("--planted", default="", help="a defect to work with (planted.py)")
    parser.add_argument("--phases", action="store_true", help="say how long each part took")
    given = parser.parse_args()
    # Stopped, it still ends what it started: asyncio lets a run tidy up on SIGINT alone, which a
    # shell lets its background jobs ignore.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    seeds = (
        [given.seed] if given.seed is not None else range(given.first, given.first + given.count)
    )
    if not may_mount():
        print("Not root, or no loop devices: full disks and power cuts are left out.")
    runs = []
    begin = time.monotonic()
    for seed in [seed for seed in seeds for _ in range(given.again)]:
        schedule = make_schedule(seed)
        run = asyncio.run(run_schedule(schedule, planted=given.planted, keep=given.keep))
        runs.append(run)
        whole = sum(run.seconds.values())
        print(f"{'FOUND' if run.findings else 'ok   '} {whole:5.1f} s  {schedule}", flush=True)
        if given.phases:
            print(
                "      ", {name: round(each, 1) for name, each in run.seconds.items()}, flush=True
            )
        for finding in run.findings:
            print(f"        {finding}", flush=True)
    print(summary(runs, time.monotonic() - begin))
    return 1 if any(run.findings for run in runs) else 0


def summary(runs: list[Run], seconds: float) -> str:
    """Say how many schedules, calls and faults there were, and what was found."""
    done: Counter[str] = sum((run.done for run in runs), Counter())
    calls = Counter(str(call.outcome) for run in runs for call in run.history.calls)
    found = Counter(
        finding.partition(":")[0].split(" (")[0] for run in runs for finding in run.findings
    )
    bad = sorted({run.schedule.seed for run in runs if run.findings})
    lines = [
        f"{len(runs)} schedules in {seconds:.0f} s, {len(bad)} with findings: {bad}",
        f"calls: {sum(calls.values())} ({', '.join(f'{n} {k}' for k, n in sorted(calls.items()))})",
        f"faults: {sum(done.values())} ({', '.join(f'{n} {k}' for k, n in sorted(done.items()))})",
        f"findings: {dict(found)}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
