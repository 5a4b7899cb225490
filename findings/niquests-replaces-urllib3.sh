#!/bin/bash
# Installing niquests replaces the code of urllib3 below requests, kubernetes and all others.
#
# One would expect:  one more HTTP client is one more package. pip says that urllib3 2.8.0 is
#   installed, so that is what "import urllib3" loads; reinstalling it would bring it back anyway.
# What happens:  niquests depends on urllib3-future, whose .pth file, run at each start of Python,
#   lays its own copy over the urllib3 folder. pip still reports 2.8.0; the import is the fork.
#   After "pip install --force-reinstall urllib3==2.8.0" the next start of Python puts it back.
# Versions:  niquests 3.21.2, urllib3-future 2.25.904, urllib3 2.8.0, requests 2.34.2.
# Matters to:  whoever audits or pins by what pip lists: a lock file, an SBOM or a scan names
#   code that does not run. (Its own documentation tells how to keep both.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
pip=$work/venv/bin/pip

imported() {
  "$work/venv/bin/python" -c 'import requests, urllib3; print(urllib3.__version__)'
}

"$pip" install --quiet --no-compile requests==2.34.2 urllib3==2.8.0
before=$(imported)
"$pip" install --quiet --no-compile niquests==3.21.2 urllib3-future==2.25.904
after=$(imported)
"$pip" install --quiet --no-compile --force-reinstall --no-deps urllib3==2.8.0
again=$(imported)
listed=$("$pip" list --disable-pip-version-check | awk '$1 == "urllib3" { print $2 }')
verdict=$("$pip" check) || true

echo "with requests alone:     import urllib3 is $before"
echo "niquests 3.21.2 added:   import urllib3 is $after"
echo "urllib3 2.8.0 reinstalled: import urllib3 is $again"
echo "pip list: urllib3 $listed; pip check: $verdict"
if [[ $before != 2.8.0 || $after != 2.25.904 || $again != 2.25.904 || $listed != 2.8.0 ]]; then
  echo 'not seen: the behaviour has changed' >&2
  exit 1
fi
