"""Finds names, finds lines, deletes: one file, run inside a sandbox by `python3 -c`."""
