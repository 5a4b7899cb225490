"""`doctor --cluster`: looks from inside two pods, says what is open, records it, leaves nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from tests.e2e import cluster

pytestmark = pytest.mark.e2e

FINDING = "oneseek-sandbox-network"


def test_the_doctor_tells_what_is_open_and_records_it():
    # Without settings: it looks as the deployed functions would.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PROVISIONER_")}
    done = subprocess.run(
        [sys.executable, "-m", "oneseek_sandbox.cli", "doctor", "--cluster"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    rows = dict(re.findall(r"^(\S.*?)\s{2,}(ok|FAILS|missing)\b", done.stdout, re.MULTILINE))
    for hardened in ("not root", "no capabilities", "read-only root", "no service account token"):
        assert rows[hardened] == "ok", done.stdout
    closed = rows["no way to another sandbox"] == "ok"
    assert "no way to Redis" in rows
    assert done.returncode == (0 if closed else 1), done.stdout + done.stderr

    record = cluster.read("configmap", FINDING, namespace=cluster.SANDBOXES)
    state = record["metadata"]["annotations"]["oneseek-sandbox/network-policy"]
    assert state == ("enforced" if closed else "open")
    assert cluster.pods("oneseek-sandbox/probe=true") == []
