"""What this machine offers: a Python, user ids, places for sockets."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.runtimes.local.bwrap_command import Layout

__all__ = [
    "Interpreter",
    "can_mount",
    "disk_shortage",
    "explain_refusal",
    "find_interpreter",
    "find_layout",
    "limits_processes",
    "make_private",
    "private_users",
    "require_passable",
    "socket_folder",
]

_OLDEST_PYTHON: Final = (3, 9)
_CAP_SYS_ADMIN: Final = 21
_MERGED: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")

# Above what distributions, systemd and container engines hand out, below 2**31.
_PRIVATE_USERS: Final = range(2_000_000_000, 2_100_000_000)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python that runs the worker; `prefix` is to be bound when it is not below /usr."""

    path: str
    prefix: str | None = None


def _runs(path: str) -> bool:
    return os.access(path, os.X_OK)


def find_interpreter() -> Interpreter:
    """Return the system's Python if it is new enough, else the one that runs this server."""
    for path in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if _runs(path) and _version(path) >= _OLDEST_PYTHON:
            return Interpreter(path)
    prefix = Path(sys.base_prefix).resolve()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Interpreter(str(prefix / "bin" / f"python{version}"), str(prefix))


def _version(path: str) -> tuple[int, ...]:
    asked = "import sys; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [path, "-I", "-S", "-E", "-c", asked], capture_output=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(int(part) for part in answer.stdout.split())


def find_layout(etc: Path = Path("/etc")) -> Layout:
    """Look at which top folders of this machine are links into /usr, and for Java's settings."""
    links, folders = [], []
    for name in _MERGED:
        path = Path("/") / name
        if path.is_symlink():
            links.append((str(path), str(path.readlink()).lstrip("/")))
        elif path.is_dir():
            folders.append(str(path))
    return Layout(tuple(links), tuple(folders), tuple(_java_settings(etc)))


def _java_settings(etc: Path) -> list[str]:
    """Return what a Debian's Java starts with: its security policy first of all.

    Not its `management`, where an operator's passwords for remote access may be.
    """
    found = [*etc.glob("java-*-openjdk/*"), *etc.glob("java/*")]
    return sorted(str(path) for path in found if path.name != "management")


def limits_processes() -> bool:
    """Return whether RLIMIT_NPROC can bound a sandbox alone.

    Before Linux 5.14 an ordinary user's other processes count too, and the limit would hit at
    random; root gives each sandbox a user of its own.
    """
    release = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    return os.geteuid() == 0 or release >= (5, 14)


def disk_shortage(home: Path, wanted_mb: int) -> str:
    """Say how much the disk lacks for another sandbox; empty when it has room."""
    free_mb = shutil.disk_usage(home).free // 1024**2
    if free_mb >= wanted_mb:
        return ""
    return (
        f"{free_mb} MB are free on the disk of {home}, fewer than the {wanted_mb} MB that new"
        " sandboxes leave free (PROVISIONER_MIN_FREE_DISK_MB)."
    )


def can_mount() -> bool:
    """Return whether this process may mount, which root in a container often may not."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> _CAP_SYS_ADMIN & 1)


def private_users(uid_map: Path = Path("/proc/self/uid_map")) -> range:
    """Return the user ids for sandboxes.

    In a user namespace only what is mapped exists; then the upper half of the largest part is used.

    Raises:
        ConfigurationError: Too few ids are mapped to give each sandbox its own.
    """
    parts = [
        tuple(int(field) for field in line.split()) for line in uid_map.read_text().splitlines()
    ]
    spans = [range(first, first + count) for first, _, count in parts]
    if any(
        span.start <= _PRIVATE_USERS.start and span.stop >= _PRIVATE_USERS.stop for span in spans
    ):
        return _PRIVATE_USERS
    largest = max(spans, key=len)
    if len(largest) < 4096:
        raise ConfigurationError(
            f"This machine maps {len(largest)} user ids for root here, too few to give each sandbox"
            " a user of its own. Run the server as an ordinary user, or map at least 4096 ids"
            " (/etc/subuid)."
        )
    return range(largest.start + len(largest) // 2, largest.stop)


def require_passable(paths: list[Path]) -> None:
    """Make sure that a sandbox's own user can get to what it needs.

    Raises:
        ConfigurationError: A folder on the way is closed to others.
    """
    for path in paths:
        for folder in reversed(path.resolve().parents):
            if not folder.stat().st_mode & stat.S_IXOTH:
                raise ConfigurationError(
                    f"Sandboxes run as users of their own, who cannot pass {folder} on the way to"
                    f" {path}, and this process may not mount it elsewhere. Run: chmod o+x {folder};"
                    " or, if it leads to the state folder, set PROVISIONER_HOME to one that others"
                    " can pass through, like /var/lib/oneseek-sandbox."
                )


def explain_refusal(error: OSError) -> str:
    """Say which folder keeps this user from a file and what to do, or return the error's own words."""
    if not isinstance(error, PermissionError) or not error.filename:
        return str(error)
    path = Path(os.fsdecode(error.filename)).absolute()
    closed = next((f for f in reversed(path.parents) if not os.access(f, os.X_OK)), path.parent)
    found = closed.stat()
    return (
        f"user {os.geteuid()} may not use {path}, because {closed} belongs to user {found.st_uid} "
        f"and has mode {stat.S_IMODE(found.st_mode):04o}. Run this as that user, or set "
        "PROVISIONER_HOME to a folder of your own."
    )


def socket_folder(home: Path) -> Path:
    """Return the short folder for the sockets of a home; their paths end at 107 bytes."""
    user = os.geteuid()
    name = "oneseek-sandbox-" + hashlib.sha256(os.fsencode(home)).hexdigest()[:8]
    personal = Path(f"/run/user/{user}")
    if user == 0 and os.access("/run", os.W_OK):  # root in a container may not be let
        return Path("/run") / name
    if personal.is_dir() and personal.stat().st_uid == user:
        return personal / name
    return Path("/tmp") / f"{name}-{user}"  # noqa: S108 - `make_private` checks owner and mode


def make_private(folder: Path) -> None:
    """Make a folder that only this user can enter, if it is not there.

    Raises:
        ConfigurationError: Somebody else owns it, or others can enter.
    """
    user = os.geteuid()
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o077:
        raise ConfigurationError(
            f"{folder} should be a folder that only user {user} can enter, for the sandboxes'"
            " sockets. Remove it and start again."
        )
