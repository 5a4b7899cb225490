#!/bin/bash
# Inspect's `local` sandbox reports a command that a signal ended as -15; its own suite demands 143.
#
# One would expect:  the same eval gives the same ExecResult in every sandbox: 128 + the signal, as
#   shells and the docker sandbox have it, and as the suite for providers in the same package asks.
# What happens:  `local` passes on Python's own convention, the negative number of the signal. The suite's
#   test_exec_timeout_not_raised_on_fast_signal_death fails on it.
# Version:  inspect-ai 0.3.285.
# Matters to:  tasks that are written with sandbox="local" and scored in containers: `returncode > 128`
#   (killed, out of memory) and `returncode < 0` are each true in one of them only.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile inspect-ai==0.3.285
cd "$work"

cat >see.py <<'EOF'
import asyncio
import importlib.metadata
import inspect
import re
import sys

from inspect_ai.util._sandbox import self_check
from inspect_ai.util._sandbox.local import LocalSandboxEnvironment

CHECK = self_check.test_exec_timeout_not_raised_on_fast_signal_death


async def main():
    environments = await LocalSandboxEnvironment.sample_init("see", None, {})
    local = environments["default"]
    ended = await local.exec(["sh", "-c", "kill -TERM $$"])
    inner = await local.exec(["sh", "-c", "sh -c 'kill -TERM $$'; exit $?"])
    try:
        await CHECK(local)
        passes = True
    except AssertionError:
        passes = False
    await LocalSandboxEnvironment.sample_cleanup("see", None, environments, False)
    return ended.returncode, inner.returncode, passes


print("inspect-ai", importlib.metadata.version("inspect-ai"))
ended, inner, passes = asyncio.run(main())
(wanted,) = re.findall(r"returncode == (\d+)", inspect.getsource(CHECK))
print(f"a command that SIGTERM ends:     {ended} in `local`; the suite wants {wanted}")
print(f"the same inside another shell:   {inner}")
print(f"{CHECK.__name__}:  {'passes' if passes else 'fails'}")
if (ended, inner, passes, wanted) != (-15, 143, False, "143"):
    sys.exit("not seen: the behaviour has changed")
EOF
"$work/venv/bin/python" see.py
