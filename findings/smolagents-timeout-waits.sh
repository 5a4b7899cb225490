#!/bin/bash
# smolagents reports "exceeded the maximum execution time" only after the code has run to its end.
#
# One would expect:  with timeout_seconds=1 the call returns after about a second, and what the
#   code would have done later is either stopped or goes on unseen.
# What happens:  the code runs in a thread of a pool whose exit waits for it. The call blocks until
#   the code is done, all its effects take place, and only then the timeout is raised: the agent
#   reads that its step was stopped although the step is complete.
# Version:  smolagents 1.26.0.
# Matters to:  whoever relies on this limit to keep an agent's turn short: the real limit is the
#   code's own length. A process that can be killed is the only timeout for Python code.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile smolagents==1.26.0
cd "$work"

cat >see.py <<'EOF'
import importlib.metadata
import sys
import time

from smolagents import LocalPythonExecutor

executor = LocalPythonExecutor(["time"], timeout_seconds=1)
executor.send_tools({})
begin = time.monotonic()
try:
    executor("import time\nstep = 'begun'\ntime.sleep(5)\nstep = 'finished'")
    told = "no error"
except Exception as error:
    told = f"{type(error).__name__}: {error}"
took = time.monotonic() - begin
print("smolagents", importlib.metadata.version("smolagents"), "with timeout_seconds=1")
print("told: ", told)
print(f"after: {took:.1f} s, and the step is {executor.state['step']!r}")
if not ("maximum execution time" in told and took > 4.5 and executor.state["step"] == "finished"):
    sys.exit("not seen: the behaviour has changed")
EOF
"$work/venv/bin/python" see.py
