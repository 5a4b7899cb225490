"""How much is tried: CI's share by default, more with `ONESEEK_FUZZ=N`, so many times as much."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

__all__ = ["TIMES", "tries"]

TIMES = int(os.environ.get("ONESEEK_FUZZ", "1"))


def tries(count: int, times: int = TIMES) -> settings:
    """Return Hypothesis settings for `count` examples in CI; each run draws others."""
    return settings(
        max_examples=count * times,
        deadline=None,
        database=None,
        print_blob=True,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
