#!/bin/bash
# pathspec's GitIgnoreSpec lets an earlier "!" rule win over a later rule that excludes its folder.
#
# One would expect:  .gitignore rules are read from top to bottom and the last match decides; and git
#   never looks into an excluded folder. Both readings ignore drafts/a.md under "!*.md", "/drafts",
#   and the class is the one whose documentation promises git's behaviour.
# What happens:  GitIgnoreSpec says that the file is not ignored; the plainer PathSpec of the same
#   package says, as git does, that it is. The other way round, with "!dist/" after
#   "node_modules/", both of its classes list a file that git never sees.
# Version:  pathspec 1.1.1; git (any since 2.x) is asked too where it is installed.
# Matters to:  file listing, search and upload tools of agents (many use this package to keep
#   ignored files out of the context). Ask for each parent folder first, as git does.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile pathspec==1.1.1
cd "$work"

cat >see.py <<'EOF'
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pathspec import GitIgnoreSpec, PathSpec

# rules, file, and whether it is ignored by: git, GitIgnoreSpec, PathSpec
SEEN = [
    (["!*.md", "/drafts"], "drafts/a.md", True, False, True),
    (["!*.md", "drafts/"], "drafts/a.md", True, False, True),
    (["node_modules/", "!dist/"], "node_modules/p/dist/x.js", True, False, False),
    (["drafts/*", "!drafts/a.md"], "drafts/a.md", False, False, False),
]


def ignored_by_git(rules, file):
    with tempfile.TemporaryDirectory(dir=".") as top:
        subprocess.run(["git", "init", "--quiet", top], check=True)
        Path(top, ".gitignore").write_text("\n".join(rules) + "\n")
        Path(top, file).parent.mkdir(parents=True)
        Path(top, file).touch()
        return subprocess.run(["git", "-C", top, "check-ignore", "--quiet", file]).returncode == 0


print("pathspec", importlib.metadata.version("pathspec"))
same = True
for rules, file, *expected in SEEN:
    by_git = ignored_by_git(rules, file) if shutil.which("git") else expected[0]
    strict = GitIgnoreSpec.from_lines(rules).match_file(file)
    plain = PathSpec.from_lines("gitignore", rules).match_file(file)
    print(f"{rules!s:28} {file:26} git: {by_git!s:5} GitIgnoreSpec: {strict!s:5} PathSpec: {plain}")
    same = same and [by_git, strict, plain] == expected
if not same:
    sys.exit("not seen: the behaviour has changed")
EOF
"$work/venv/bin/python" see.py
