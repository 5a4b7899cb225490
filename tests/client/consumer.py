# mypy: enable-error-code="arg-type, assignment, call-overload, func-returns-value, union-attr"
"""What a backend with strict types may write; each line that ends with a code is refused by it."""

from __future__ import annotations

from pathlib import Path

from oneseek_sandbox.client import (
    BackendSettings,
    BlockingSandboxes,
    BlockingThreadSandbox,
    Gap,
    Output,
    Sandboxes,
    connect,
)


def acquired(settings: BackendSettings) -> str:
    with BlockingSandboxes(connect(settings)) as sandboxes:
        answer = sandboxes.acquire("thread-1", scope="tenant-7")
        sandboxes.acquire("thread-1", scop="tenant-7")  # [call-arg]
        sandboxes.thread("thread-1", timout_seconds=3)  # [call-arg]
        sandboxes.acquir("thread-1")  # [attr-defined]
        print(answer.sandbox_idd)  # [attr-defined]
        return answer.sandbox_id


def worked(thread: BlockingThreadSandbox) -> int:
    done = thread.execute("true", timeout_seconds=3)
    thread.execute("true", timout_seconds=3)  # [call-arg]
    thread.execute("true", timeout_seconds="3")  # [arg-type]
    print(done.exit_cod)  # [attr-defined]
    for event in thread.stream(["seq", "3"]):
        if isinstance(event, Output):
            print(event.text.upper(), event.txt)  # [attr-defined]
        elif isinstance(event, Gap):
            print(event.bytes + 1)
        else:
            print(event.exit_code + 1)
    return done.exit_code


def moved(thread: BlockingThreadSandbox, local: Path) -> bytes:
    thread.upload("/workspace/a", b"bytes", mode="0644")
    thread.upload("/workspace/a", local)
    thread.upload("/workspace/a", (piece for piece in (b"a", b"b")))
    thread.upload("/workspace/a", "text")  # [arg-type]
    with thread.download("/workspace/a") as file:
        print(file.siz)  # [attr-defined]
        return b"".join(file.chunks)


async def awaited(sandboxes: Sandboxes) -> str:
    done = await sandboxes.execute("true", thread_id="thread-1", timout_seconds=3)  # [call-arg]
    print(sandboxes.execute("true", thread_id="thread-1").stdout)  # [attr-defined]
    return done.stdout
