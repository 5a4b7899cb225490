"""A home that cannot be written, as on a full disk: an error that says so, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import subprocess

import pytest

from oneseek_sandbox.errors import RuntimeUnavailableError


@contextlib.contextmanager
def unwritable(folder):
    """Keep everybody from writing into a folder; modes do not keep root, a mount does."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        try:
            yield
        finally:
            folder.chmod(0o700)
        return
    bound = subprocess.run(["mount", "--bind", folder, folder], check=False, capture_output=True)
    if bound.returncode:
        pytest.skip("root may not mount here, and nothing else keeps it from writing")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.finding(12)
async def test_a_home_that_cannot_be_written_is_unavailable_and_keeps_its_sandbox(
    home, runtime, labels, run
):
    sandbox = await runtime.create(labels("t"))
    await run(sandbox, "echo precious > file")
    with unwritable(home / "sandboxes" / sandbox.name):
        with pytest.raises(RuntimeUnavailableError, match="cannot be read or written"):
            await runtime.mark_claimed(sandbox)
        with pytest.raises(RuntimeUnavailableError, match="free space"):
            await runtime.stop(sandbox.uid, sandbox.name)
    await runtime.mark_claimed(sandbox)
    assert (await run(sandbox, "cat file")).output == "precious"
    assert await runtime.stop(sandbox.uid, sandbox.name)
    assert await runtime.list() == []
