#!/bin/bash
# After psutil has waited for a process, subprocess reports exit status 0 for it, killed or not.
#
# One would expect:  psutil.wait_procs(), of psutil's own recipe for killing a process tree, only
#   watches; afterwards Popen.wait() tells how the process ended, or raises.
# What happens:  for a child of this process psutil collects the exit status itself. Python's
#   subprocess then finds no such child, and takes that for status 0: a process that was killed
#   with SIGKILL, or failed with 3, has "succeeded". No warning, no error.
# Versions:  psutil 7.2.2, with the subprocess module of Python 3.11.
# Matters to:  whoever runs commands and ends them by process tree: "killed at the timeout" is
#   recorded as success. Ask Popen.wait() first, and give psutil the descendants only.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile psutil==7.2.2
cd "$work"

cat >see.py <<'EOF'
import subprocess
import sys

import psutil


def status(command, kill, look):
    child = subprocess.Popen(["sh", "-c", command])
    process = psutil.Process(child.pid)
    if kill:
        process.kill()
    by_psutil = None
    if look:
        [process], _ = psutil.wait_procs([process])
        by_psutil = process.returncode
    by_subprocess = child.wait()
    print(f"sh -c {command!r}{', killed' if kill else ''}: psutil {by_psutil}, subprocess {by_subprocess}")
    return by_psutil, by_subprocess


print(f"psutil {psutil.__version__}, Python {sys.version.split()[0]}")
seen = [
    status("exec sleep 60", kill=True, look=False),
    status("exec sleep 60", kill=True, look=True),
    status("exit 3", kill=False, look=True),
]
if seen != [(None, -9), (-9, 0), (3, 0)]:
    sys.exit("not seen: the behaviour has changed")
EOF
"$work/venv/bin/python" see.py
