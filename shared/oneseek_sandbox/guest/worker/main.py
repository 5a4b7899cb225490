"""Starts the worker."""

from __future__ import annotations

import gc
import marshal
import os
import sys
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import log, log_crash
from oneseek_sandbox.guest.worker.job import memory_file
from oneseek_sandbox.guest.worker.kernel import OutOfMemoryScore, protect_process, take_signals
from oneseek_sandbox.guest.worker.options import Options
from oneseek_sandbox.guest.worker.worker import Worker

if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main", "restart_compiled"]


def restart_compiled() -> None:
    """Run on as a fresh process from bytecode: parsing the source leaves 6 MiB behind for ever."""
    if not __file__.endswith(".py"):
        if __file__.startswith("/proc/self/fd/"):
            os.close(int(__file__.rsplit("/", 1)[1]))
        return
    from _frozen_importlib_external import MAGIC_NUMBER

    try:
        code = marshal.dumps(sys._getframe(1).f_code)  # noqa: SLF001 - the module's own code
        memory = memory_file(MAGIC_NUMBER + bytes(12) + code)
        os.set_inheritable(memory, True)
        program = f"/proc/self/fd/{memory}"
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-E", program, *sys.argv[1:]])  # noqa: S606
    except OSError as error:
        log(f"running from source: {error.strerror}")


def main() -> NoReturn:
    """Start the worker with the arguments of the command line."""
    sys.excepthook = log_crash
    score = OutOfMemoryScore()
    options = Options(sys.argv[1:], score)
    protect_process()
    os.umask(0o022)
    # Whatever is imported later could be a file that code inside has changed.
    sys.path.clear()
    sys.meta_path.clear()
    gc.freeze()  # a collection in a forked monitor would copy every page it looks at
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    wakeup = take_signals()
    Worker(options, options.open_listener()).run(wakeup)


if __name__ == "__main__":
    restart_compiled()
    main()
