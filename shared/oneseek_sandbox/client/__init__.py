"""A backend's side: `connect(settings)` gives `Sandboxes`, `ThreadSandbox` one thread's of them."""

from __future__ import annotations

from oneseek_sandbox.client.blocking import BlockingSandboxes, BlockingThreadSandbox
from oneseek_sandbox.client.loop_thread import BlockingDownload
from oneseek_sandbox.client.opening import connect
from oneseek_sandbox.client.sandboxes import Download, Output, Sandboxes
from oneseek_sandbox.client.settings import BackendSettings
from oneseek_sandbox.client.thread import ThreadSandbox

__all__ = [
    "BackendSettings",
    "BlockingDownload",
    "BlockingSandboxes",
    "BlockingThreadSandbox",
    "Download",
    "Output",
    "Sandboxes",
    "ThreadSandbox",
    "connect",
]
