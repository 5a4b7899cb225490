"""The first process of every sandbox: runs commands and edits files, asked over HTTP/1.1.

Standard library only, one file, Python 3.9 or newer; runs as `python3 -I -S -E worker.py`. The
contract is `docs/worker-protocol.md`. Everything happens in one thread, so that code inside cannot
stop it by using up processes; whatever takes long gives way in between (`turn`).

Reading order: scheduler, kernel, HTTP, workspace files, disk, processes, commands, at-most-once
table, worker.
"""

from __future__ import annotations

import binascii
import contextlib
import ctypes
import errno
import gc
import heapq
import json
import marshal
import os
import select
import signal
import socket
import stat
import sys
import time
from collections import deque
from operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Generator,
        Iterable,
        Iterator,
    )
    from hashlib import sha256
    from typing import Any, NoReturn, Self
else:
    try:
        from _sha2 import sha256  # what hashlib stands on, without OpenSSL's 2 MiB
    except ImportError:
        from _sha256 import sha256

__all__ = ["TYPE_CHECKING"]
