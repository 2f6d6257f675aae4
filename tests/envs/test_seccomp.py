"""The system call filter, run in a small BPF interpreter: what it allows, refuses and hides."""

import errno
import os
import struct

import pytest

from envs.sandbox.seccomp import build_filter

_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_KILL = 0x80000000
_TOKENS = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def _verdict(machine: str, number: int, *arguments: int, token: int | None = None) -> int:
    """What the filter says to a system call (classic BPF over `struct seccomp_data`)."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<iIQ6Q", number, _TOKENS[machine] if token is None else token, 0, *padded)
    program = build_filter(machine)
    at, value = 0, 0
    while True:
        code, if_true, if_false, operand = struct.unpack_from("HBBI", program, 8 * at)
        at += 1
        match code:
            case 0x20:
                (value,) = struct.unpack_from("<I", data, operand)
            case 0x15:
                at += if_true if value == operand else if_false
            case 0x35:
                at += if_true if value >= operand else if_false
            case 0x45:
                at += if_true if value & operand else if_false
            case 0x06:
                return int(operand)
            case _:
                raise AssertionError(f"{code=}")


@pytest.mark.parametrize(
    ("machine", "number", "arguments", "verdict"),
    [
        ("x86_64", 0, (), _ALLOW),  # read
        ("x86_64", 9, (), _ALLOW),  # mmap
        ("x86_64", 41, (), _EPERM),  # socket
        ("x86_64", 53, (), _EPERM),  # socketpair
        ("x86_64", 57, (), _EPERM),  # fork
        ("x86_64", 58, (), _EPERM),  # vfork
        ("x86_64", 59, (), _EPERM),  # execve
        ("x86_64", 62, (1, 9), _EPERM),  # kill
        ("x86_64", 101, (), _EPERM),  # ptrace
        ("x86_64", 157, (), _EPERM),  # prctl
        ("x86_64", 165, (), _EPERM),  # mount
        ("x86_64", 234, (), _EPERM),  # tgkill
        ("x86_64", 272, (), _EPERM),  # unshare
        ("x86_64", 310, (), _EPERM),  # process_vm_readv
        ("x86_64", 319, (), _EPERM),  # memfd_create
        ("x86_64", 321, (), _EPERM),  # bpf
        ("x86_64", 425, (), _EPERM),  # io_uring_setup
        ("x86_64", 435, (), _ENOSYS),  # clone3
        ("x86_64", 56, (0x00010000,), _ALLOW),  # clone of a thread
        ("x86_64", 56, (17,), _EPERM),  # clone of a process
        ("x86_64", 257, (0, 0, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY), _ALLOW),  # openat
        ("x86_64", 257, (0, 0, os.O_WRONLY), _EPERM),
        ("x86_64", 257, (0, 0, os.O_RDWR), _EPERM),
        ("x86_64", 257, (0, 0, os.O_RDONLY | os.O_CREAT), _EPERM),
        ("x86_64", 257, (0, 0, os.O_TMPFILE | os.O_RDONLY), _EPERM),
        ("x86_64", 2, (0, os.O_RDONLY), _ALLOW),  # open
        ("x86_64", 2, (0, os.O_RDWR), _EPERM),
        ("x86_64", 302, (0, 7, 0), _ALLOW),  # prlimit64, asking
        ("x86_64", 302, (0, 7, 1), _EPERM),
        ("x86_64", 302, (0, 7, 1 << 32), _EPERM),
        ("x86_64", 72, (0, 3), _ALLOW),  # fcntl F_GETFL
        ("x86_64", 72, (0, 8), _EPERM),  # fcntl F_SETOWN
        ("x86_64", 0x40000000, (), _EPERM),  # x32 read
        ("aarch64", 63, (), _ALLOW),  # read
        ("aarch64", 198, (), _EPERM),  # socket
        ("aarch64", 221, (), _EPERM),  # execve
        ("aarch64", 129, (), _EPERM),  # kill
        ("aarch64", 56, (0, 0, os.O_RDONLY), _ALLOW),  # openat
        ("aarch64", 56, (0, 0, os.O_WRONLY), _EPERM),
        ("aarch64", 220, (17,), _EPERM),  # clone of a process
    ],
)
def test_verdicts(machine: str, number: int, arguments: tuple[int, ...], verdict: int) -> None:
    assert _verdict(machine, number, *arguments) == verdict


def test_another_machine_s_calls_kill() -> None:
    assert _verdict("x86_64", 0, token=0x40000003) == _KILL  # i386 by int 0x80


def test_only_listed_calls_pass() -> None:
    allowed = [number for number in range(600) if _verdict("x86_64", number) == _ALLOW]
    assert len(allowed) < 85


def test_unknown_machine() -> None:
    with pytest.raises(OSError, match="no system call table for riscv64"):
        build_filter("riscv64")
