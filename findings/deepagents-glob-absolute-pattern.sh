#!/bin/bash
# deepagents' glob() finds nothing, without an error, when the pattern is an absolute path.
#
# One would expect:  a backend whose other tools take and return absolute paths (read, ls, grep, and
#   glob's own results) takes them in a pattern too, or refuses them.
# What happens:  the leading "/" is dropped and the rest is searched below the folder: a pattern
#   made of a path that glob itself has just returned matches nothing.
# Version:  deepagents 0.7.32 (FilesystemBackend, with virtual_mode=False).
# Matters to:  models write "/app/src/**/*.py" as often as not, read the empty answer as "there
#   are no such files", and write them anew. Cut the pattern at its first wildcard before the call.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile deepagents==0.7.32
mkdir -p "$work/tree/src/pkg"
echo 'x = 1' >"$work/tree/src/pkg/a.py"
cd "$work/tree"

cat >"$work/see.py" <<'EOF'
import importlib.metadata
import os
import sys

from deepagents.backends import FilesystemBackend

top = os.getcwd()
backend = FilesystemBackend(root_dir=top, virtual_mode=False)


def found(pattern, path):
    told = backend.glob(pattern, path)
    names = [match["path"].replace(top, "TOP") for match in told.matches or []]
    print(f"glob({pattern.replace(top, 'TOP')!r}, {path.replace(top, 'TOP')!r}): {names}, error {told.error}")
    return names, told.error


print("deepagents", importlib.metadata.version("deepagents"))
relative = found("src/**/*.py", top)
absolute = found(f"{top}/src/**/*.py", top)
itself = found(f"{top}/src/pkg/a.py", "/")
if relative != (["TOP/src/pkg/a.py"], None) or absolute != ([], None) or itself != ([], None):
    sys.exit("not seen: the behaviour has changed")
EOF
"$work/venv/bin/python" "$work/see.py"
