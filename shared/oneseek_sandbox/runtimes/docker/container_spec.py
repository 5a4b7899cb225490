"""The two containers of a sandbox, as pure functions of the settings.

The sandbox itself has no network and runs the worker. Its listener has one, with a port
published on 127.0.0.1, and runs nothing but the program that opens the listening socket there and
hands it over.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.guest.bundle import bundle

if TYPE_CHECKING:
    from oneseek_sandbox.runtimes.docker.engine import Resource
    from oneseek_sandbox.settings import Settings

__all__ = [
    "CODE",
    "PORT",
    "SOCKET_FOLDER",
    "USER",
    "files_name",
    "listener_config",
    "listener_name",
    "network_name",
    "programs",
    "sandbox_config",
]

CODE: Final = "/opt/oneseek-sandbox"
SOCKET_FOLDER: Final = "/run/oneseek-sandbox"
PORT: Final = 8787
USER: Final = 1000
_SOCKET: Final = f"{SOCKET_FOLDER}/listener"
_LISTENER_USER: Final = 1001
_LISTENER_MEMORY: Final = 64 * 1024**2
_MEBIBYTE: Final = 1024**2
_PYTHON: Final = ("python3", "-ISE")


def programs() -> dict[str, bytes]:
    """Return what is put into the image, in the folder CODE."""
    return {f"{name}.py": bundle(name) for name in ("worker", "listener", "entry")}


def listener_name(name: str) -> str:
    """Return the name of a sandbox's listener container, and of the volume between the two."""
    return f"{name}-door"  # the name that stored sandboxes have


def files_name(name: str) -> str:
    """Return the name of the volume with a sandbox's workspace."""
    return f"{name}-files"


def network_name(name: str) -> str:
    """Return the name of the network that a sandbox has when it may have one."""
    return f"{name}-network"


def sandbox_config(
    settings: Settings, name: str, image: str, labels: dict[str, str], *, listener: str = ""
) -> Resource:
    """Return the container with the worker.

    Args:
        listener: Id of the container whose network it shares; none when empty.
    """
    workspace = settings.workspace_dir
    host = _hardened(name) | {
        "NetworkMode": f"container:{listener}" if listener else "none",
        "PidsLimit": settings.process_limit,
        "Memory": settings.memory_limit_mb * _MEBIBYTE,
        "MemorySwap": settings.memory_limit_mb * _MEBIBYTE,  # that is: no swap beyond it
        "NanoCpus": round(settings.cpu_limit * 10**9),
        "ShmSize": settings.tmp_limit_mb * _MEBIBYTE,
        "Tmpfs": {"/tmp": _tmpfs(settings.tmp_limit_mb)},  # noqa: S108 - the sandbox's own
        "Mounts": [
            _volume(files_name(name), workspace),
            _volume(listener_name(name), SOCKET_FOLDER, read_only=True),
        ],
    }
    config = {
        "Image": image,
        "Entrypoint": [
            *_PYTHON,
            f"{CODE}/entry.py",
            _SOCKET,
            f"{CODE}/worker.py",
            "--workspace",
            workspace,
            "--max-processes",
            str(settings.process_limit),
            "--max-commands",
            str(settings.max_commands),
            *settings.disk_options,
            *settings.scope_options(CODE, SOCKET_FOLDER),
            "--unclaimed-exit",
        ],
        "Cmd": [],
        "User": f"{USER}:{USER}",
        "WorkingDir": workspace,
        "Env": [f"HOME={workspace}"],
        "Labels": labels,
        "HostConfig": host,
    }
    # With another's network go its host name and hosts file.
    return config if listener else config | {"Hostname": "sandbox"}


def listener_config(
    name: str,
    image: str,
    labels: dict[str, str],
    *,
    network: str = "",
    closing: tuple[bytes, ...] = (),
) -> Resource:
    """Return the listener container.

    Args:
        network: Of the sandbox; empty for the engine's default one, which the sandbox does not see.
        closing: Netlink messages to send before anything else runs in the network.
    """
    host = _hardened(name) | {
        "NetworkMode": network or "bridge",
        "PortBindings": {f"{PORT}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        "PidsLimit": 16,
        "Memory": _LISTENER_MEMORY,
        "MemorySwap": _LISTENER_MEMORY,
        "Mounts": [_volume(listener_name(name), SOCKET_FOLDER)],
    }
    user = f"{_LISTENER_USER}:{_LISTENER_USER}"
    if closing:
        # Only root can use a capability without a file that grants it. This is its only one.
        user = "0:0"
        host["CapAdd"] = ["NET_ADMIN"]
    return {
        "Image": image,
        "Entrypoint": [
            *_PYTHON,
            f"{CODE}/listener.py",
            _SOCKET,
            str(PORT),
            *(message.hex() for message in closing),
        ],
        "Cmd": [],
        "User": user,
        "WorkingDir": "/",
        "Hostname": "sandbox",
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "Labels": labels,
        "HostConfig": host,
    }


def _hardened(name: str) -> Resource:
    """Return what both containers have; the engine's own seccomp filter stays in place."""
    return {
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", f"label=level:{_selinux_level(name)}"],
        "ReadonlyRootfs": True,
        "Privileged": False,
        "Init": False,
        "IpcMode": "private",
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "100k", "max-file": "1"}},
    }


def _selinux_level(name: str) -> str:
    """Return a level that a sandbox shares with its listener and, most likely, with nobody else.

    With one of its own each, SELinux would keep the listener from being handed over.
    """
    digest = hashlib.sha256(name.encode()).digest()
    first = int.from_bytes(digest[:2], "big") % 512
    second = 512 + int.from_bytes(digest[2:4], "big") % 512
    return f"s0:c{first},c{second}"


def _volume(volume: str, target: str, *, read_only: bool = False) -> Resource:
    return {"Type": "volume", "Source": volume, "Target": target, "ReadOnly": read_only}


def _tmpfs(megabytes: int) -> str:
    return f"rw,exec,nosuid,nodev,size={megabytes}m,mode=1777"
