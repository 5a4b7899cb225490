"""The system calls that no sandbox may make, as a BPF program for `bwrap --seccomp`.

A deny-list: it takes away what widens the kernel's surface or reaches other processes, and leaves
compilers, threads and package managers alone. Refused calls answer EPERM, except where programs
have a fallback that they take on ENOSYS only.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from typing import Final

__all__ = ["ARCHITECTURES", "Architecture", "seccomp_program"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A machine type as seccomp sees it: its audit token and its numbers of the calls below."""

    audit: int
    clone: int
    ioctl: int
    unshare: int
    prlimit64: int
    denied: dict[str, int]


# The same on every architecture.
_NEW_DENIED: Final = {
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
}
_CLONE3: Final = 435

ARCHITECTURES: Final = {
    "x86_64": Architecture(
        audit=0xC000003E,
        clone=56,
        ioctl=16,
        unshare=272,
        prlimit64=302,
        denied={
            "ptrace": 101,
            "syslog": 103,
            "pivot_root": 155,
            "chroot": 161,
            "acct": 163,
            "mount": 165,
            "umount2": 166,
            "swapon": 167,
            "swapoff": 168,
            "reboot": 169,
            "iopl": 172,
            "ioperm": 173,
            "init_module": 175,
            "delete_module": 176,
            "quotactl": 179,
            "kexec_load": 246,
            "add_key": 248,
            "request_key": 249,
            "keyctl": 250,
            "move_pages": 279,
            "migrate_pages": 256,
            "perf_event_open": 298,
            "open_by_handle_at": 304,
            "setns": 308,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "kcmp": 312,
            "finit_module": 313,
            "kexec_file_load": 320,
            "bpf": 321,
            "userfaultfd": 323,
        },
    ),
    "aarch64": Architecture(
        audit=0xC00000B7,
        clone=220,
        ioctl=29,
        unshare=97,
        prlimit64=261,
        denied={
            "umount2": 39,
            "mount": 40,
            "pivot_root": 41,
            "chroot": 51,
            "quotactl": 60,
            "acct": 89,
            "kexec_load": 104,
            "init_module": 105,
            "delete_module": 106,
            "syslog": 116,
            "ptrace": 117,
            "reboot": 142,
            "add_key": 217,
            "request_key": 218,
            "keyctl": 219,
            "swapon": 224,
            "swapoff": 225,
            "migrate_pages": 238,
            "move_pages": 239,
            "perf_event_open": 241,
            "open_by_handle_at": 265,
            "setns": 268,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "kcmp": 272,
            "finit_module": 273,
            "bpf": 280,
            "userfaultfd": 282,
            "kexec_file_load": 294,
        },
    ),
}

_NEW_NAMESPACE: Final = (
    0x00020000  # mount
    | 0x02000000  # cgroup
    | 0x04000000  # uts
    | 0x08000000  # ipc
    | 0x10000000  # user
    | 0x20000000  # pid
    | 0x40000000  # net
)
_NEW_TIME: Final = 0x80  # for unshare only: in clone these bits are the exit signal
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_X32_BIT: Final = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_NUMBER_OFFSET, _AUDIT_OFFSET = 0, 4


def _argument_offset(index: int) -> int:
    return 16 + 8 * index


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _return(action: int) -> bytes:
    return _instruction(_RETURN, action)


def _refuse(error: int) -> bytes:
    return _return(0x00050000 | error)


def _when_number(number: int, block: list[bytes]) -> list[bytes]:
    return [_instruction(_EQUAL, number, 0, len(block)), *block]


def _refuse_bits(argument: int, bits: int) -> list[bytes]:
    return [
        _instruction(_LOAD, _argument_offset(argument)),
        _instruction(_ANY_BIT, bits, 0, 1),
        _refuse(errno.EPERM),
        _return(_ALLOW),
    ]


def _refuse_values(argument: int, values: tuple[int, ...]) -> list[bytes]:
    block = [_instruction(_LOAD, _argument_offset(argument))]
    for value in values:
        block += [_instruction(_EQUAL, value, 0, 1), _refuse(errno.EPERM)]
    return [*block, _return(_ALLOW)]


def _refuse_limits_of_others() -> list[bytes]:
    """Refuse prlimit64 when it names a process and sets something: PID 1 has the same uid."""
    new_limit = _argument_offset(2)
    return [
        _instruction(_LOAD, _argument_offset(0)),
        _instruction(_EQUAL, 0, 5, 0),
        _instruction(_LOAD, new_limit),
        _instruction(_EQUAL, 0, 0, 2),
        _instruction(_LOAD, new_limit + 4),
        _instruction(_EQUAL, 0, 1, 0),
        _refuse(errno.EPERM),
        _return(_ALLOW),
    ]


def seccomp_program(machine: str) -> bytes:
    """Return the filter for a machine type as `platform.machine()` names it.

    Raises:
        KeyError: No filter is known for this type; sandboxes are not started without one.
    """
    calls = ARCHITECTURES[machine]
    program = [
        _instruction(_LOAD, _AUDIT_OFFSET),
        _instruction(_EQUAL, calls.audit, 1, 0),
        _return(_KILL_PROCESS),
        _instruction(_LOAD, _NUMBER_OFFSET),
    ]
    if machine == "x86_64":
        program += [_instruction(_AT_LEAST, _X32_BIT, 0, 1), _refuse(errno.ENOSYS)]
    # Its flags lie in memory, where a filter cannot look; libraries fall back to clone.
    program += _when_number(_CLONE3, [_refuse(errno.ENOSYS)])
    program += _when_number(calls.clone, _refuse_bits(0, _NEW_NAMESPACE))
    program += _when_number(calls.unshare, _refuse_bits(0, _NEW_NAMESPACE | _NEW_TIME))
    program += _when_number(calls.ioctl, _refuse_values(1, (_TIOCSTI, _TIOCLINUX)))
    program += _when_number(calls.prlimit64, _refuse_limits_of_others())
    for number in {**calls.denied, **_NEW_DENIED}.values():
        program += _when_number(number, [_refuse(errno.EPERM)])
    return b"".join([*program, _return(_ALLOW)])
