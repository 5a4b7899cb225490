#!/bin/bash
# watchfiles never reports many of the files that are made at once in new nested folders.
#
# One would expect:  a recursive watch reports each new file, or at least the folder it is in; the
#   library says that it watches recursively, and watchdog, on the same kernel interface, does.
# What happens:  a new folder is watched only once its creation was read, and what was made in it
#   before that moment is not looked for. Of 300 files, each made in a new folder four levels deep,
#   a tenth to a half are never reported, however long one waits.
# Versions:  watchfiles 1.3.0, watchdog 7.1.0 (for comparison: all 300).
# Matters to:  whoever mirrors what an agent writes ("mkdir -p a/b/c; write a/b/c/file" is how its
#   tools write). After a folder appears, list it; take events for hints, not for the list of files.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile watchfiles==1.3.0 anyio==4.16.0 watchdog==7.1.0
cd "$work"

cat >see.py <<'EOF'
import importlib.metadata
import sys
import tempfile
import threading
import time
from pathlib import Path

import watchfiles
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

ROUNDS = 300


def make_files(top, reported):
    """Make the files; wait until the first one in the top folder, made last, is reported."""
    files = []
    for number in range(ROUNDS):
        folder = top / str(number) / "a" / "b" / "c"
        folder.mkdir(parents=True)
        (folder / "file").write_text("text")
        files.append(str(folder / "file"))
    deadline = time.monotonic() + 30
    mark = top / "mark"
    while str(mark) not in reported and time.monotonic() < deadline:
        mark.write_text("x")
        time.sleep(0.2)
    time.sleep(5)  # whatever is still on its way
    return sum(file in reported for file in files)


def with_watchfiles(top):
    reported, stop = set(), threading.Event()

    def watch():
        for changes in watchfiles.watch(top, stop_event=stop, rust_timeout=200, yield_on_timeout=True):
            reported.update(path for _, path in changes)

    thread = threading.Thread(target=watch)
    thread.start()
    time.sleep(2)
    count = make_files(top, reported)
    stop.set()
    thread.join()
    return count


def with_watchdog(top):
    reported = set()

    class Note(FileSystemEventHandler):
        def on_any_event(self, event):
            reported.add(event.src_path)

    observer = Observer()
    observer.schedule(Note(), str(top), recursive=True)
    observer.start()
    count = make_files(top, reported)
    observer.stop()
    observer.join()
    return count


counts = []
for name, see in (("watchfiles", with_watchfiles), ("watchdog", with_watchdog)):
    with tempfile.TemporaryDirectory(dir=".") as top:
        counts.append(see(Path(top).resolve()))
    print(f"{name} {importlib.metadata.version(name)}: reported {counts[-1]} of {ROUNDS} files")
if not (0 < counts[0] < ROUNDS == counts[1]):
    sys.exit("not seen: the behaviour has changed")
EOF
"$work/venv/bin/python" -W ignore see.py
