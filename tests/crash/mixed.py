"""Servers and workers of two versions together."""

from __future__ import annotations

from tests.crash.trees import ROOT

__all__ = ["KEY", "LIMITS", "NEW_FIELDS", "PRESENT"]

KEY = "key-of-mixed-versions"
LIMITS = {"PROVISIONER_PROCESS_LIMIT": "200", "PROVISIONER_MEMORY_LIMIT_MB": "256"}
PRESENT = ROOT / "shared"
NEW_FIELDS = {"stdin_path": "/workspace/kept"}
