"""The few Linux system calls that Python 3.11 does not wrap. Every function raises OSError on failure.

Constants are those of the kernel's uapi headers (`linux/prctl.h`, `linux/sched.h`, `linux/mount.h`,
`linux/capability.h`).
"""

import ctypes
import os
import platform
import signal

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_NOATIME, MS_NODIRATIME, MS_BIND = 32, 1024, 2048, 4096
MS_REC, MS_PRIVATE, MS_RELATIME = 16384, 1 << 18, 1 << 21
MNT_DETACH = 2

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 22, 36, 38
_SECCOMP_MODE_FILTER = 2
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_HUGE, _MADV_COLLAPSE = 1 << 21, 25

_libc = ctypes.CDLL(None, use_errno=True)


class _SeccompProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def _checked(what: str, status: int) -> int:
    if status < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return status


def _text(value: str | None) -> bytes | None:
    return None if value is None else os.fsencode(value)


def syscall(what: str, number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Raw system call; `what` names it in errors."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _checked(what, _libc.syscall(ctypes.c_long(number), *wide))


def _prctl(what: str, option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _checked(what, _libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero))


def die_with_parent() -> None:
    """SIGKILL for this process when its parent dies. A change of user id clears it: call again afterwards."""
    _prctl("prctl(PDEATHSIG)", _PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    _prctl("prctl(CHILD_SUBREAPER)", _PR_SET_CHILD_SUBREAPER, 1)


def set_no_new_privs() -> None:
    _prctl("prctl(NO_NEW_PRIVS)", _PR_SET_NO_NEW_PRIVS, 1)


def install_seccomp(program: bytes) -> None:
    """Puts the calling thread under the BPF `program` (8 bytes per instruction) for ever."""
    header = _SeccompProgram(len(program) // 8, program)
    zero = ctypes.c_ulong(0)
    status = _libc.prctl(
        _PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(header), zero, zero
    )
    _checked("prctl(SECCOMP)", status)


def drop_capabilities() -> None:
    """Gives up every capability; with no_new_privs they cannot come back."""
    header = _CapabilityHeader(_LINUX_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _checked("capset", _libc.capset(ctypes.byref(header), ctypes.byref(nothing)))


def unshare(flags: int) -> None:
    _checked("unshare", _libc.unshare(flags))


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    arguments = _text(source), _text(target), _text(kind), ctypes.c_ulong(flags), _text(data)
    _checked(f"mount {target}", _libc.mount(*arguments))


def unmount(target: str) -> None:
    _checked(f"umount {target}", _libc.umount2(_text(target), MNT_DETACH))


def pivot_root(new: str, old: str) -> None:
    machine = platform.machine()
    if machine not in _PIVOT_ROOT:
        raise OSError(f"pivot_root: its number on {machine} is not known here")
    syscall("pivot_root", _PIVOT_ROOT[machine], os.fsencode(new), os.fsencode(old))


def collapse_memory() -> None:
    """Moves this process's anonymous memory into huge pages, as far as the kernel can (6.1 and later do).

    A fork then copies one entry of the page tables where it copied 512, and its end undoes as many less: half
    as many programs a second again. Of a page that a child writes to, the kernel still copies 4 KiB alone.
    """
    try:
        with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
            areas = [line.split() for line in maps]
    except OSError:  # a host without /proc: it works as well, if not as fast
        return
    for area in areas:
        is_anonymous = len(area) == 5 or area[5] in ("[heap]", "[anon]")
        start, end = (int(edge, 16) for edge in area[0].split("-"))
        start, end = -(-start // _HUGE) * _HUGE, end // _HUGE * _HUGE
        if is_anonymous and area[1].startswith("rw") and start < end:
            # It tells what it could not move; that stays as it was.
            _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_COLLAPSE)
