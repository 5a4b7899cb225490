"""The worker's modules make one file."""

from __future__ import annotations

import hashlib

from oneseek_sandbox.guest.bundle import bundle


def test_the_modules_make_the_file_that_they_were_cut_from():
    whole = "30f38e107867a009bd2d7fda7188dda56e3e62f4c0ff2f596af478143dd38dd1"
    assert hashlib.sha256(bundle()).hexdigest() == whole
