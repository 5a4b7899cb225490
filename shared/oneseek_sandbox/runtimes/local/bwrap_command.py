"""The bubblewrap command of a sandbox: one pure function of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "MEMORY_EVENTS",
    "USER",
    "USER_ID",
    "WORKER",
    "Layout",
    "Plan",
    "Variant",
    "bwrap_command",
    "identity_files",
    "resolver_file",
    "variants",
]

Variant = Literal["full", "nested-userns"]
"""`nested-userns` leaves out `--disable-userns`, which a read-only /proc/sys forbids; seccomp still
refuses new user namespaces."""

USER: Final = "sandbox"
USER_ID: Final = 1000

WORKER: Final = "/run/worker"
MEMORY_EVENTS: Final = "/run/memory.events"

_ETC: Final = (
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/os-release",
    "/etc/services",
    "/etc/protocols",
    "/etc/mime.types",
    "/etc/fonts",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/ca-certificates",
)


def identity_files(home: str) -> dict[str, str]:
    """Return the files that tell programs who they are and how names are looked up."""
    return {
        "/etc/passwd": (
            f"root:x:0:0:root:/:/usr/sbin/nologin\n{USER}:x:{USER_ID}:{USER_ID}::{home}:/bin/sh\n"
        ),
        "/etc/group": f"root:x:0:\n{USER}:x:{USER_ID}:\n",
        "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 sandbox\n",
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    }


def resolver_file(address: str) -> dict[str, str]:
    """Return the resolv.conf of a sandbox with network: the forwarder at `address`, nothing else."""
    return {"/etc/resolv.conf": f"nameserver {address}\noptions edns0 trust-ad\n"}


@dataclass(frozen=True, slots=True)
class Layout:
    """Which of /bin, /lib and so on are links on this machine (merged /usr), and which folders.

    Attributes:
        settings: What programs below /usr keep in /etc under names that depend on their version.
    """

    links: tuple[tuple[str, str], ...]
    folders: tuple[str, ...]
    settings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All that decides a sandbox's command.

    Attributes:
        workspace: The folder on the host that becomes `workspace_dir`.
        worker: The worker program on the host.
        python_prefix: Source and target of a Python to bind, when the system has none.
        payload: What runs as PID 1; its paths are those inside.
        data: Open descriptors with the contents of small files, by their path inside.
        tmp_bytes: Size of /tmp, and of /dev/shm.
        memory_events: The cgroup's file of that name on the host.
    """

    bwrap: str
    variant: Variant
    layout: Layout
    workspace: str
    workspace_dir: str
    worker: str
    payload: tuple[str, ...]
    data: tuple[tuple[str, int], ...]
    seccomp_fd: int
    tmp_bytes: int
    network: bool = False
    status_fd: int | None = None
    python_prefix: tuple[str, str] | None = None
    memory_events: str | None = None


def bwrap_command(plan: Plan) -> list[str]:
    """Return the argument list of a sandbox; `/workspace`, /tmp and /dev/shm are all it can write."""
    return [
        plan.bwrap,
        *_namespaces(plan),
        *_system(plan),
        *_kernel_mounts(plan),
        *("--bind", plan.workspace, plan.workspace_dir),
        *("--remount-ro", "/"),
        *("--chdir", "/"),  # not the workspace: whoever owns it can make it inaccessible
        *_environment(plan),
        *("--seccomp", str(plan.seccomp_fd)),
        *(("--json-status-fd", str(plan.status_fd)) if plan.status_fd is not None else ()),
        "--",
        *plan.payload,
    ]


def _namespaces(plan: Plan) -> list[str]:
    # No --die-with-parent: a sandbox outlives the server that started it.
    arguments = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    arguments += ["--unshare-cgroup-try", "--as-pid-1", "--new-session", "--cap-drop", "ALL"]
    arguments += ["--uid", str(USER_ID), "--gid", str(USER_ID), "--hostname", "sandbox"]
    if plan.variant == "full":
        arguments.append("--disable-userns")
    if not plan.network:
        arguments.append("--unshare-net")
    return arguments


def _system(plan: Plan) -> list[str]:
    arguments = ["--ro-bind", "/usr", "/usr"]
    for path, target in plan.layout.links:
        arguments += ["--symlink", target, path]
    for path in plan.layout.folders:
        arguments += ["--ro-bind", path, path]
    for path in (*_ETC, *plan.layout.settings):
        arguments += ["--ro-bind-try", path, path]
    for path, descriptor in plan.data:
        arguments += ["--perms", "0644", "--ro-bind-data", str(descriptor), path]
    if plan.python_prefix is not None:
        arguments += ["--ro-bind", *plan.python_prefix]
    arguments += ["--ro-bind", plan.worker, WORKER]
    if plan.memory_events is not None:
        arguments += ["--ro-bind", plan.memory_events, MEMORY_EVENTS]
    return arguments


def _kernel_mounts(plan: Plan) -> list[str]:
    size = str(plan.tmp_bytes)
    return [
        *("--proc", "/proc"),
        *("--dev", "/dev"),
        *("--perms", "1777", "--size", size, "--tmpfs", "/dev/shm"),  # noqa: S108
        *("--remount-ro", "/dev"),
        *("--perms", "1777", "--size", size, "--tmpfs", "/tmp"),  # noqa: S108
        *("--symlink", "../tmp", "/var/tmp"),  # noqa: S108
    ]


def _environment(plan: Plan) -> list[str]:
    path = "/usr/local/bin:/usr/bin:/bin"
    if plan.python_prefix is not None:
        path += f":{plan.python_prefix[1]}/bin"
    values = {
        "PATH": path,
        "HOME": plan.workspace_dir,
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",  # noqa: S108
        "USER": USER,
        "LOGNAME": USER,
    }
    arguments = ["--clearenv"]
    for name, value in values.items():
        arguments += ["--setenv", name, value]
    return arguments


def variants(candidates: list[str]) -> Iterator[tuple[str, Variant]]:
    """Yield what to try, best first: every program with the full profile, then with less."""
    order: tuple[Variant, ...] = ("full", "nested-userns")
    for variant in order:
        for candidate in candidates:
            yield candidate, variant
