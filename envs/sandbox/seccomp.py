"""The system calls a program may make: an allow-list, compiled to the kernel's classic BPF.

A pure computation needs memory, clocks, reading (which files is Landlock's and the private root's business)
and threads. All else (sockets, new processes, exec, signals to others, ptrace, mounts, keys, bpf, io_uring,
writing files) answers EPERM, so the program sees an ordinary PermissionError. Own assembler, because the
filter is forty lines and so needs no library on the host; numbers from the kernel's syscall tables.
"""

import errno
import os
import platform
import struct

# name: (x86_64, aarch64); None where an architecture has no such call. Most frequent first: BPF scans in
# order.
_ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63),
    "write": (1, 64),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "brk": (12, 214),
    "futex": (202, 98),
    "close": (3, 57),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "lseek": (8, 62),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "mremap": (25, 216),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "exit_group": (231, 94),
    "exit": (60, 93),
    "clock_gettime": (228, 113),
    "getrandom": (318, 278),
    "stat": (4, None),
    "lstat": (6, None),
    "statx": (332, 291),
    "getdents64": (217, 61),
    "access": (21, None),
    "faccessat": (269, 48),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getcwd": (79, 17),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "fadvise64": (221, 223),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "sched_yield": (24, 124),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "getrusage": (98, 165),
    "getrlimit": (97, 163),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getresuid": (118, 148),
    "getresgid": (120, 150),
    "getgroups": (115, 158),
    "uname": (63, 160),
    "sysinfo": (99, 179),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    "sigaltstack": (131, 132),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "rseq": (334, 293),
    "arch_prctl": (158, None),
    "membarrier": (324, 283),
    "restart_syscall": (219, 128),
    "alarm": (37, None),
    "setitimer": (38, 103),
    "getitimer": (36, 102),
    "pause": (34, None),
    "rt_sigsuspend": (130, 133),
    "rt_sigtimedwait": (128, 137),
    "rt_sigpending": (127, 136),
}
# These have older twins that the C library falls back to when they "do not exist"; their arguments are out
# of BPF's sight.
_ABSENT = {"clone3": (435, 435), "openat2": (437, 437), "faccessat2": (439, 439), "close_range": (436, 436)}
_OPEN, _OPENAT = (2, None), (257, 56)
_CLONE, _PRLIMIT, _FCNTL = (56, 220), (302, 261), (72, 25)

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32_BIT = 0x40000000  # x86_64 only: the x32 numbering would sidestep the list

_CLONE_THREAD = 0x00010000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | (os.O_TMPFILE & ~os.O_DIRECTORY)
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC; not F_SETOWN, which directs signals at others.
_FCNTL_COMMANDS = (0, 1, 2, 3, 4, 1030)

_LOAD, _JUMP_EQUAL, _JUMP_NOT_BELOW, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_RET_KILL, _RET_ERRNO, _RET_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


_ALLOW = _op(_RETURN, _RET_ALLOW)
_DENY = _op(_RETURN, _RET_ERRNO | errno.EPERM)
_MISSING = _op(_RETURN, _RET_ERRNO | errno.ENOSYS)


def _argument(index: int, high: bool = False) -> bytes:
    """Loads 32 bits of the 64-bit argument `index` of `struct seccomp_data` (little-endian machines)."""
    return _op(_LOAD, 16 + 8 * index + (4 if high else 0))


def _rule(number: int | None, body: bytes) -> bytes:
    """If the call is `number`, run `body`, which must return; otherwise go on behind it."""
    if number is None:
        return b""
    return _op(_JUMP_EQUAL, number, 0, len(body) // 8) + body


def _reads_only(flags_argument: int) -> bytes:
    return _argument(flags_argument) + _op(_JUMP_ANY_BIT, _WRITING, 0, 1) + _DENY + _ALLOW


def _one_of(argument: int, values: tuple[int, ...]) -> bytes:
    return _argument(argument) + b"".join(_op(_JUMP_EQUAL, v, 0, 1) + _ALLOW for v in values) + _DENY


def build_filter(machine: str | None = None) -> bytes:
    """The BPF program for `machine` (default: this one). Raises OSError for an architecture without a
    table.
    """
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        raise OSError(f"seccomp: no system call table for {machine} (have {', '.join(_ARCHITECTURES)})")
    column, token = _ARCHITECTURES[machine]
    program = _op(_LOAD, 4) + _op(_JUMP_EQUAL, token, 1, 0) + _op(_RETURN, _RET_KILL)
    program += _op(_LOAD, 0)
    if machine == "x86_64":
        program += _op(_JUMP_NOT_BELOW, _X32_BIT, 0, 1) + _DENY
    for numbers in _ALLOWED.values():
        program += _rule(numbers[column], _ALLOW)
    program += _rule(_OPENAT[column], _reads_only(flags_argument=2))
    program += _rule(_OPEN[column], _reads_only(flags_argument=1))
    threads_only = _argument(0) + _op(_JUMP_ANY_BIT, _CLONE_THREAD, 0, 1) + _ALLOW + _DENY
    program += _rule(_CLONE[column], threads_only)
    # prlimit64 with a null new_limit only reads.
    asks_only = _argument(2) + _op(_JUMP_EQUAL, 0, 0, 3) + _argument(2, high=True)
    program += _rule(_PRLIMIT[column], asks_only + _op(_JUMP_EQUAL, 0, 0, 1) + _ALLOW + _DENY)
    program += _rule(_FCNTL[column], _one_of(1, _FCNTL_COMMANDS))
    for numbers in _ABSENT.values():
        program += _rule(numbers[column], _MISSING)
    return program + _DENY
