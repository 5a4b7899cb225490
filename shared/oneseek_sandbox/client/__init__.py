"""A backend's side: `connect(settings)` gives `Sandboxes`, `ThreadSandbox` one thread's of them.

A name is imported with its first use: the command line takes the HTTP part, and an embedded backend
the other.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

__all__ = [
    "BackendSettings",
    "BlockingDownload",
    "BlockingSandboxes",
    "BlockingThreadSandbox",
    "Download",
    "Gap",
    "Output",
    "Sandboxes",
    "ThreadSandbox",
    "connect",
]

if TYPE_CHECKING:
    from oneseek_sandbox.client.blocking import BlockingSandboxes, BlockingThreadSandbox
    from oneseek_sandbox.client.opening import connect
    from oneseek_sandbox.client.sandboxes import Sandboxes
    from oneseek_sandbox.client.settings import BackendSettings
    from oneseek_sandbox.client.streams import BlockingDownload, Download, Gap, Output
    from oneseek_sandbox.client.thread import ThreadSandbox
else:  # for a type checker this module has the names above, and no others
    _MODULES: Final = {
        "BackendSettings": "settings",
        "BlockingDownload": "streams",
        "BlockingSandboxes": "blocking",
        "BlockingThreadSandbox": "blocking",
        "Download": "streams",
        "Gap": "streams",
        "Output": "streams",
        "Sandboxes": "sandboxes",
        "ThreadSandbox": "thread",
        "connect": "opening",
    }

    def __getattr__(name: str) -> Any:  # noqa: ANN401 - one of the names
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
