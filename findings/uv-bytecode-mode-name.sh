#!/bin/bash
# uv and Python's own compileall take the same three bytecode modes by different names, and each
# refuses the other's.
#
# One would expect:  one spelling, as both end in the same function, `py_compile.compile`. An image
#   that compiles its dependencies with uv and its own code with compileall then names one mode.
# What happens:  `python -m compileall --invalidation-mode` takes only `unchecked-hash`; uv reads
#   PYC_INVALIDATION_MODE and takes only `UNCHECKED_HASH`, the name of the enum's member. uv checks
#   it only in the compiler process, after it has installed: the package is there without bytecode,
#   and the error names the package's file.
# Versions:  uv 0.13.9, CPython 3.11.
# Matters to:  whoever builds images with a read-only root: modes that compare a file's time are
#   stale after a layer has rounded it, and each start compiles everything again.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile uv==0.13.9
uv=$work/venv/bin/uv
"$uv" venv --quiet --python python3 "$work/target"
python=$work/target/bin/python

# install MODE: whether uv installs with this mode, and how many files it compiled.
install() {
  "$uv" pip uninstall --quiet --python "$python" iniconfig 2>/dev/null || true
  local status=0
  PYC_INVALIDATION_MODE=$1 "$uv" pip install --quiet --python "$python" --compile-bytecode \
    iniconfig==2.1.0 2>"$work/errors" || status=$?
  compiled=$(find "$work/target" -path '*iniconfig*' -name '*.pyc' | wc -l)
  installed=$(find "$work/target" -path '*iniconfig/__init__.py' | wc -l)
  echo "uv          $1: exit $status, installed $installed, compiled $compiled"
  if [ -s "$work/errors" ]; then sed 's/^/              /' "$work/errors" | head -4; fi
  return "$status"
}

# compile MODE: whether compileall takes this mode.
compile() {
  local status=0
  "$python" -m compileall -q -f --invalidation-mode "$1" "$work/target" >/dev/null 2>&1 || status=$?
  echo "compileall  $1: exit $status"
  return "$status"
}

seen=yes
install unchecked-hash && seen=no
[ "$installed" = 1 ] && [ "$compiled" = 0 ] || seen=no
install UNCHECKED_HASH || seen=no
[ "$compiled" -gt 0 ] || seen=no
compile unchecked-hash || seen=no
compile UNCHECKED_HASH && seen=no
[ $seen = yes ] || { echo "not seen: the behaviour has changed" >&2; exit 1; }
