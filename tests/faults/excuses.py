"""Which check cannot hold under which fault, and why: nothing else may be excused.

The same table stands in `docs/reliability.md`; a test holds the two together.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CANNOT_HOLD", "FAULTS", "PROMISES"]

PROMISES: Final[dict[str, tuple[int, ...]]] = {
    "untold": (1,),
    "told": (1,),
    "one_sandbox": (1, 2, 3),
    "generation": (3,),
    "old_files": (4, 6),
    "idle": (5,),
    "ended": (5, 6, 7),
    "kept": (7, 8),
    "files": (5, 7, 8),
    "stale_write": (3,),
    "restart_told": (7,),
    "once": (3,),
    "spoken": (3,),
    "left": (4, 9),
    "answered": (6, 8),
}
"""The checks of a history, and the lease promises that each one holds."""

FAULTS: Final[dict[str, str]] = {
    "server_killed": "kill -9 of a server, or of a function",
    "server_paused": "a server stands still and goes on later",
    "store_answer_lost": "a store call's answer is late or lost, or the call is sent again",
    "store_away": "the store does not answer, or is killed",
    "store_emptied": "the store lost everything",
    "store_rolled_back": "the store went back to an earlier state",
    "clock_jumped": "the store's clock jumped",
    "worker_died": "a worker's process is gone, the files are there",
    "sandbox_gone": "a sandbox is gone with its files",
    "runtime_away": "what makes and ends sandboxes does not answer, or late",
    "caller_left": "a caller closes its connection",
    "request_resent": "a whole request is sent again on the way",
    "request_done_twice": "a whole request is done twice on the way, and one answer thrown away",
    "monitor_killed": "a command's monitor is killed",
    "disk_full": "the disk is full",
    "power_cut": "the machine loses power",
}
"""What is done to a run, in words."""

CANNOT_HOLD: Final[dict[tuple[str, ...], dict[str, str]]] = {
    ("store_away",): {
        "told": "if away for 10 s after delivery of a notice, it cannot record the delivery",
    },
    ("store_emptied",): {
        "old_files": "loses a release whose sandbox was not proved gone yet",
        "untold": "loses the notice that a sandbox is new",
    },
    ("store_emptied", "clock_jumped"): {
        "generation": "nothing remembers the higher one, unless a sandbox is labelled with it",
    },
    ("store_rolled_back",): {
        "old_files": "does not know about later releases",
        "untold": "does not know what was reported later",
        "told": "does not know what was reported later",
        "restart_told": "does not know what was reported later",
        "one_sandbox": "returns again what was current at that time",
        "generation": "returns again what was current at that time",
        "idle": "returns again what was in use at that time",
        "once": "does not know which commands started later",
    },
    ("request_done_twice",): {
        "untold": "the discarded response contained the notice",
    },
    ("request_resent",): {
        "stale_write": "a write that arrives twice is applied twice",
    },
    ("power_cut",): {
        "files": "files are not synced unless a write asks for it",
        "stale_write": "files are not synced unless a write asks for it",
        "once": "the record of started commands is not synced",
    },
}
"""By faults that come together, and check: why it cannot hold there."""
