"""What an operator has to do on this machine when sandboxes are not isolated or do not start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Machine", "fix_for_failure", "fix_for_limits", "fix_for_start"]

_APPARMOR: Final = """\
This machine's AppArmor lets only programs with a profile make user namespaces (Ubuntu 23.10 and
later). As root:
    apt-get install bubblewrap
    cat > /etc/apparmor.d/bwrap <<'PROFILE'
abi <abi/4.0>,
include <tunables/global>
profile bwrap /usr/bin/bwrap flags=(unconfined) {
  userns,
  include if exists <local/bwrap>
}
PROFILE
    apparmor_parser -r /etc/apparmor.d/bwrap"""

_CONTAINER: Final = """\
The server runs in a container that does not allow namespaces. Start the container with
    docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined \\
        --security-opt systempaths=unconfined ...
(the sandboxes have their own seccomp filter), or use the Kubernetes runtime."""

_CLONE: Final = """\
Unprivileged user namespaces are disabled. As root:
    sysctl -w kernel.unprivileged_userns_clone=1
and put that line into /etc/sysctl.d/ to keep it."""

_MAXIMUM: Final = """\
This machine allows no user namespaces. As root:
    sysctl -w user.max_user_namespaces=15000
and put that line into /etc/sysctl.d/ to keep it."""

_INSTALL: Final = """\
bubblewrap is missing, and no wheel of it is available for this machine. Install the package of your
distribution, as root: apt-get install bubblewrap"""

_UNKNOWN: Final = """\
Try `bwrap --unshare-all --ro-bind / / true` as an ordinary user: it must print nothing. Any
output says what this machine does not allow."""

_HOME: Final = """\
The state folder {home} cannot be used as it is: what was seen names the path and the reason. Give
this user that folder and every folder above it, or set PROVISIONER_HOME to a folder of its own, on
a local disk."""

# What bubblewrap and the launcher say of paths. Of namespaces they say "Operation not permitted".
_OF_FILES: Final = (
    "Permission denied",
    "No such file or directory",
    "Read-only file system",
    "No space left on device",
)

_LIMITS: Final = """\
Give the server writable control groups: run it as root, or as a user
    systemd-run --user --scope -p Delegate=yes oneseek-sandbox serve
or as a service with Delegate=yes and DelegateSubgroup=oneseek-servers (docs/operating.md).
Until then a sandbox can use all memory of this machine."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides which fix is the right one. Numbers are None where the kernel has no such file."""

    apparmor_restricts: int | None
    userns_clone: int | None
    max_user_namespaces: int | None
    in_container: bool
    has_bwrap: bool

    @classmethod
    def look(cls, *, has_bwrap: bool) -> Machine:
        """Read it from this machine."""
        kernel, user = Path("/proc/sys/kernel"), Path("/proc/sys/user")
        return cls(
            apparmor_restricts=_number(kernel / "apparmor_restrict_unprivileged_userns"),
            userns_clone=_number(kernel / "unprivileged_userns_clone"),
            max_user_namespaces=_number(user / "max_user_namespaces"),
            in_container=any(Path(path).exists() for path in ("/.dockerenv", "/run/.containerenv")),
            has_bwrap=has_bwrap,
        )


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def fix_for_failure(machine: Machine, said: str, home: Path) -> str:
    """Return what to do where a sandbox does not start: about its files when it speaks of those."""
    of_files = any(words in said for words in _OF_FILES)
    if of_files and (str(home) in said or "source path" in said):
        return _HOME.format(home=home)
    return fix_for_start(machine)


def fix_for_start(machine: Machine) -> str:
    """Return what to do where no sandbox starts, or one is not isolated."""
    if not machine.has_bwrap:
        return _INSTALL
    if machine.userns_clone == 0:
        return _CLONE
    if machine.max_user_namespaces == 0:
        return _MAXIMUM
    if machine.in_container:
        return _CONTAINER
    if machine.apparmor_restricts:
        return _APPARMOR
    return _UNKNOWN


def fix_for_limits() -> str:
    """Return what to do where sandboxes have no control groups."""
    return _LIMITS
