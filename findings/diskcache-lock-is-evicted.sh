#!/bin/bash
# A held diskcache.Lock is thrown out of the cache by ordinary writes, and a second holder gets in.
#
# One would expect:  a lock without an expiry is held until it is released; a size limit concerns
#   the cached values.
# What happens:  the lock is an ordinary item of the cache. Past size_limit every write removes the
#   items that were stored longest ago, the lock of a long-running holder among the first. Nobody is
#   told. (RLock, BoundedSemaphore and Averager keep their state in the same way.)
# Version:  diskcache 5.6.3. The limit is 1 GiB by default, 1 MiB here.
# Matters to:  leader election and once-only jobs on a shared folder. Keep locks in a cache of their
#   own with eviction_policy="none", and no values beside them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile diskcache==5.6.3
cd "$work"

cat >see.py <<'EOF'
import sys
import threading

import diskcache


def second_holder(policy):
    """Hold a lock, write 100 values of 50 kB, and see whether somebody else gets the lock."""
    cache = diskcache.Cache(f"cache-{policy}", size_limit=2**20, eviction_policy=policy)
    lock = diskcache.Lock(cache, "leader")
    lock.acquire()
    writes = 0
    while lock.locked() and writes < 100:
        cache.set(("page", writes), b"x" * 50_000)
        writes += 1
    held = lock.locked()
    other = threading.Thread(target=diskcache.Lock(cache, "leader").acquire, daemon=True)
    other.start()
    other.join(5)
    print(f"{policy}: locked() is {held} after {writes} writes", end=", ")
    print(f"a second acquire() returns: {not other.is_alive()}")
    return not other.is_alive(), writes


print("diskcache", diskcache.__version__)
if (second_holder("least-recently-stored")[0], second_holder("none")) != (True, (False, 100)):
    sys.exit("not seen: the behaviour has changed")
EOF
"$work/venv/bin/python" see.py
