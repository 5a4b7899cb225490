"""The filter, run instruction by instruction as the kernel would."""

from __future__ import annotations

import errno
import struct

import pytest

from oneseek_sandbox.runtimes.local.seccomp import ARCHITECTURES, seccomp_program

ALLOWED, KILLED = "allowed", "killed"


def decide(machine, number, *arguments, audit=None):
    """Run the filter on one system call and say what it answers."""
    program = seccomp_program(machine)
    audit = ARCHITECTURES[machine].audit if audit is None else audit
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, audit, 0, *padded)
    accumulator, counter = 0, 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("=HBBI", program, counter * 8)
        counter += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            return {0x7FFF0000: ALLOWED, 0x80000000: KILLED}.get(value) or value & 0xFFFF
        else:
            holds = {
                0x15: accumulator == value,
                0x35: accumulator >= value,
                0x45: bool(accumulator & value),
            }[code]
            counter += if_true if holds else if_false


@pytest.fixture(params=sorted(ARCHITECTURES))
def machine(request):
    return request.param


@pytest.fixture
def calls(machine):
    return ARCHITECTURES[machine]


def test_every_denied_call_is_refused(machine, calls):
    for name, number in calls.denied.items():
        assert decide(machine, number) == errno.EPERM, name


def test_ordinary_calls_pass(machine, calls):
    numbers = {"x86_64": (0, 1, 2, 9, 59, 61, 202, 231), "aarch64": (56, 63, 64, 221, 222, 260)}
    for number in numbers[machine]:
        assert decide(machine, number) == ALLOWED


@pytest.mark.parametrize(
    "flag", [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]
)
def test_no_call_makes_a_namespace(machine, calls, flag):
    assert decide(machine, calls.clone, flag | 17) == errno.EPERM
    assert decide(machine, calls.unshare, flag) == errno.EPERM


def test_time_namespaces_are_refused_without_mistaking_an_exit_signal(machine, calls):
    assert decide(machine, calls.unshare, 0x80) == errno.EPERM
    assert decide(machine, calls.clone, 0x11) == ALLOWED


def test_threads_and_forks_pass(machine, calls):
    assert decide(machine, calls.clone, 0x3D0F00) == ALLOWED
    assert decide(machine, calls.unshare, 0x400) == ALLOWED


def test_clone3_looks_like_an_old_kernel(machine):
    assert decide(machine, 435) == errno.ENOSYS


@pytest.mark.parametrize("request_number", [0x5412, 0x541C])
def test_terminals_cannot_be_typed_into(machine, calls, request_number):
    assert decide(machine, calls.ioctl, 0, request_number) == errno.EPERM
    assert decide(machine, calls.ioctl, 0, 0x5401) == ALLOWED


def test_limits_of_other_processes_cannot_be_set(machine, calls):
    low, high = 0x1000, 0x7F00_0000_0000
    assert decide(machine, calls.prlimit64, 1, 7, low) == errno.EPERM
    assert decide(machine, calls.prlimit64, 1, 7, high) == errno.EPERM
    assert decide(machine, calls.prlimit64, 1, 7, 0) == ALLOWED
    assert decide(machine, calls.prlimit64, 0, 7, low) == ALLOWED


def test_other_instruction_sets_are_killed(machine):
    assert decide(machine, 1, audit=0x40000003) == KILLED


def test_the_x32_calls_do_not_exist():
    assert decide("x86_64", 0x40000000 | 101) == errno.ENOSYS
