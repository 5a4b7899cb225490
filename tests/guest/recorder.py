"""Runs the worker whose code is in the file `code`, and notes in `lines` which of its lines ran.

Byte N of that file becomes 1 when line N first runs. All processes share it in memory: the worker is
killed in the end, its children leave by _exit, and none may have a descriptor more than otherwise.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
PROT_READ_WRITE, MAP_SHARED = 0x3, 0x1

_left: dict[int, set[int]] = {}  # by the id of a function's code: its lines that have not run


def shared_bytes(path: str) -> ctypes.Array[ctypes.c_ubyte]:
    """Return the bytes of a file; they change in it."""
    size = os.path.getsize(path)
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    mmap = ctypes.CDLL(None, use_errno=True).mmap
    mmap.restype = ctypes.c_void_p
    mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    address = mmap(None, size, PROT_READ_WRITE, MAP_SHARED, fd, 0)
    os.close(fd)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "mmap")
    return (ctypes.c_ubyte * size).from_address(address)


def at_call(frame, _event, _argument):
    """Watch the lines of a function of the worker, until all of them have run."""
    code = frame.f_code
    if code.co_filename != "worker":
        return None
    left = _left.get(id(code))
    if left is None:
        # A function's first line is that of its `def`.
        left = {line for *_, line in code.co_lines() if line} - {code.co_firstlineno}
        _left[id(code)] = left

    def at_line(frame, _event, _argument):
        line = frame.f_lineno
        if line in left:
            left.discard(line)
            _ran[line] = 1
        return at_line if left else None

    return at_line if left else None


_ran = shared_bytes(os.path.join(FOLDER, "lines"))
with open(os.path.join(FOLDER, "code"), "rb") as file:
    _code = marshal.load(file)
if hasattr(_code, "co_lines"):  # not before Python 3.10
    sys.settrace(at_call)
# Under the name of a source file, it would start anew from bytecode, without this.
exec(_code, {"__name__": "__main__", "__file__": "worker"})
