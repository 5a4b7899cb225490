"""Becomes the first process of a sandbox: reads a job from stdin, then execs bubblewrap.

Run as `python3 -I -S -E launch.py` by the same Python as the server, with a marshalled job on stdin.
Only modules that load fast are imported (json, typing and pathlib are half of a start); whatever goes wrong is a line on stderr, which the server keeps as the sandbox's log.
The server waits for the process it started, which ends at once: the sandbox is detached from it.
"""

from __future__ import annotations

import _socket
import ctypes
import errno
import marshal
import os
import resource
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
_NETWORK_SECONDS = 10
_MANY_FILES = 65_536
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_SLAVE = 2, 4, 4096, 16384, 1 << 19
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_STAGE = "/tmp"  # noqa: S108 - exists everywhere; covered in a mount namespace of our own

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    _checked(
        _libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()),
        f"mount {source} on {target}",
    )


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs 5 ms to import
        file.write(text)


def stage(paths: dict[str, str]) -> None:
    """Show what the unprivileged user could not reach under short names in a private /tmp."""
    _checked(_libc.unshare(_CLONE_NEWNS), "unshare the mount namespace")
    _mount("none", "/", "none", _MS_REC | _MS_SLAVE)
    sources = {name: os.open(source, os.O_PATH) for name, source in paths.items()}
    _mount("tmpfs", _STAGE, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=711,size=64k")
    for name, descriptor in sources.items():
        target = f"{_STAGE}/{name}"
        source = f"/proc/self/fd/{descriptor}"
        if os.path.isdir(source):  # noqa: PTH112
            os.mkdir(target)  # noqa: PTH102
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
        _mount(source, target, "none", _MS_BIND | _MS_REC)
        os.close(descriptor)


def limit(limits: dict[str, int]) -> None:
    """Set resource limits, never above what this process may have."""
    for name, wanted in limits.items():
        which = getattr(resource, name)
        _, hard = resource.getrlimit(which)
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(which, (value, value))


def drop_to(user: int) -> None:
    """Become an ordinary user for good, with no other groups."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    # The change of user took our own /proc files away from us.
    _checked(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "dumpable")


def announce(role: str, status_fd: int) -> None:
    """Say who we are in the status file: what we exec keeps our process id and start time."""
    with open("/proc/self/stat", "rb") as file:  # noqa: PTH123
        started = int(file.read().rpartition(b")")[2].split()[19])
    line = f'{{"{role}-pid": {os.getpid()}, "{role}-started": {started}}}\n'
    os.write(status_fd, line.encode())


def connect(network: dict[str, Any], status_fd: int) -> None:
    """Move into user and network namespaces of our own, served by a pasta that we start."""
    user, group, owner = os.getuid(), os.getgid(), os.getpid()
    reading, writing = os.pipe()
    if os.fork() == 0:
        announce("pasta", status_fd)
        os.close(writing)
        os.read(reading, 1)
        os.closerange(3, _MANY_FILES)  # above all the lock, which says that the monitor lives
        os.execv(network["command"][0], [*network["command"], str(owner)])  # noqa: S606
    _checked(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET), "unshare the network namespace")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")
    os.close(writing)  # lets pasta go
    _wait_for_default_route()
    _send_routes(network["routes"])


def _wait_for_default_route() -> None:
    deadline = time.monotonic() + _NETWORK_SECONDS
    while time.monotonic() < deadline:
        with open("/proc/net/route", encoding="ascii") as file:  # noqa: PTH123
            if any(line.split()[1] == "00000000" for line in file):
                return
        time.sleep(0.001)
    raise OSError(errno.ETIMEDOUT, "pasta did not set the network up")


def _send_routes(messages: list[bytes]) -> None:
    netlink = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, 0)
    try:
        for message in messages:
            netlink.send(message)
            result = -int.from_bytes(netlink.recv(4096)[16:20], sys.byteorder, signed=True)
            # Kernels without IPv6 have nothing to close there.
            if result not in (0, errno.EEXIST, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                raise OSError(result, f"close a route: {os.strerror(result)}")
    finally:
        netlink.close()


def launch(job: dict[str, Any]) -> None:
    """Do what the job says and become its command; returns only by an exception."""
    for file in job["cgroup_files"]:
        _write(file, "0")
    limit(job["limits"])
    if job["stage"]:
        stage(job["stage"])
    if job["user"] is not None:
        drop_to(job["user"])
    os.umask(0o022)
    # Python ignores it, and what we exec would go on ignoring it; pasta refuses to start so.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    os.chdir("/")
    announce("monitor", job["status_fd"])
    if job["network"] is not None:
        connect(job["network"], job["status_fd"])
    os.execv(job["command"][0], job["command"])  # noqa: S606


def main() -> None:
    """Detach from the server and launch."""
    job = marshal.load(sys.stdin.buffer)  # noqa: S302 - written by the server itself
    if os.fork():
        os._exit(0)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    try:
        launch(job)
    except OSError as error:
        print(f"launch: {error}", file=sys.stderr)  # noqa: T201
    os._exit(1)


if __name__ == "__main__":
    main()
