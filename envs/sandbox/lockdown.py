"""Puts a process into the sandbox, layer by layer, and finds out beforehand which layers this host has.

Order matters: namespaces before the process forks its zygote, the private root while still allowed to
mount, no_new_privs before Landlock, Landlock before privileges go (it opens the folders), seccomp last and
in the child only (the zygote itself still has to fork and kill).
"""

import errno
import json
import os
import resource
import site
import socket
import sysconfig
from collections.abc import Callable, Sequence
from functools import partial

from envs.sandbox import landlock, linux, namespaces, seccomp

_NOBODY = 65534
# Above every range in use (people, services, containers, directories) and below 2^31: systemd's "UIDs and
# GIDs on systemd systems" and SSSD's `ldap_idmap_range_max`.
_FIRST_OWN_USER, _OWN_USERS_BITS = 0x7E000000, 24
# The kernel counts threads per user, so these are for one worker that has a user of its own, and for
# whatever a user runs (a trainer with its hundreds of threads too): then only a wall against bombs.
_OWN_THREADS, _SHARED_THREADS = 64, 4096
_STACK_BYTES = 8 << 20


def python_paths() -> list[str]:
    """The folders and files a program may read: Python's libraries, the shared objects loaded so far,
    time zones.
    """
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths.update(site.getsitepackages())
    with open("/proc/self/maps") as maps:
        objects = {line.split()[-1] for line in maps if ".so" in line and line.rstrip()[-1] != ")"}
    paths.update(os.path.dirname(path) for path in objects if path.startswith("/"))
    paths.update(("/etc/ld.so.cache", "/usr/share/zoneinfo", "/dev/null", "/dev/urandom"))
    return sorted(path for path in paths if os.path.exists(path))


def draw_user() -> int:
    """A user id for one worker alone. By chance, not by process id: containers share users and process
    ids.
    """
    return _FIRST_OWN_USER + int.from_bytes(os.urandom(_OWN_USERS_BITS // 8), "big")


def lock_down(layers: list[str], paths: list[str], user: int) -> None:
    """Enters every layer of `layers` but seccomp and namespaces; root becomes `user`.

    Raises OSError at the first that fails.
    """
    if "private_root" in layers:
        namespaces.enter_private_root(paths)
    if "no_new_privs" in layers:
        linux.set_no_new_privs()
    if "landlock" in layers:
        landlock.restrict_reading_to(paths)
    if "unprivileged" in layers:
        _drop_privileges(paths, user)


def _drop_privileges(paths: list[str], user: int) -> None:
    """Becomes `user` if it is root and others can read Python; loses every capability in any case."""
    if os.geteuid() == 0 and _readable_by_others(paths):
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        try:
            os.setresuid(user, user, user)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)  # a container that has no such user
    linux.drop_capabilities()


def _readable_by_others(paths: list[str]) -> bool:
    """Whether someone who owns nothing gets to `paths`: each folder on the way lets others pass."""
    folders = {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")} & set(paths)
    for folder in folders:
        while folder != os.path.dirname(folder):
            if not os.stat(folder).st_mode & 0o001:
                return False
            folder = os.path.dirname(folder)
    return True


def limit_resources(time_limit_s: float, memory_bytes: int) -> None:
    """The kernel's own limits for one child; `memory_bytes` of address space include what the zygote
    holds.
    """
    seconds = int(time_limit_s) + 2
    threads = _OWN_THREADS if os.getuid() >= _FIRST_OWN_USER else _SHARED_THREADS
    for name, soft, hard in (
        ("AS", memory_bytes, memory_bytes),
        ("CPU", seconds, seconds),
        ("STACK", _STACK_BYTES, _STACK_BYTES),
        ("NOFILE", 32, 32),
        ("NPROC", threads, threads),
        ("FSIZE", 0, 0),
        ("CORE", 0, 0),
        ("MEMLOCK", 0, 0),
        ("MSGQUEUE", 0, 0),
        ("SIGPENDING", 64, 64),
    ):
        which = getattr(resource, f"RLIMIT_{name}")
        ceiling = resource.getrlimit(which)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(which, (soft, hard))


def find_layers(wanted: Sequence[str], user: int) -> tuple[list[str], dict[str, str]]:
    """Which of `wanted` hold on this host, each tried for real in a process of its own; and why the others
    do not; `user` is whom root becomes.

    What works alone is then tried together, and what it must prevent is attempted; a combination that does
    not hold is tried again without the mounts and namespaces.
    """
    found: list[str] = []
    missing: dict[str, str] = {}
    paths = python_paths()
    for layer in wanted:
        reason = try_in_child(partial(_enter_alone, layer, paths, user))
        if reason:
            missing[layer] = reason
        else:
            found.append(layer)
    if "namespaces" not in found and "private_root" in found:
        found.remove("private_root")  # mounts of its own need the namespace
    for layers in (found, [layer for layer in found if layer not in ("private_root", "namespaces")]):
        reason = try_in_child(partial(_prove, layers, paths, user))
        if not reason:
            return layers, missing
        missing[" + ".join(layers)] = reason
    return [], missing


def _enter_alone(layer: str, paths: list[str], user: int) -> None:
    """The one layer, with what it cannot do without."""
    if layer in ("namespaces", "private_root"):
        namespaces.enter_namespaces()
    if layer in ("no_new_privs", "landlock", "seccomp"):
        linux.set_no_new_privs()
    if layer in ("private_root", "landlock", "unprivileged"):
        lock_down([layer], paths, user)
    if layer == "seccomp":
        linux.install_seccomp(seccomp.build_filter())


def _prove(layers: list[str], paths: list[str], user: int) -> None:
    """Enters `layers` and raises OSError if a file of the host or a socket can still be had."""
    if "namespaces" in layers:
        namespaces.enter_namespaces()
    lock_down(layers, paths, user)
    if "seccomp" in layers:
        linux.install_seccomp(seccomp.build_filter())
        try:
            socket.socket().close()
        except PermissionError:
            pass
        else:
            raise OSError("a socket could be opened in spite of seccomp")
    if "landlock" in layers or "private_root" in layers:
        try:
            os.close(os.open("/etc/passwd", os.O_RDONLY))
        except (PermissionError, FileNotFoundError):
            pass
        else:
            raise OSError("/etc/passwd could be read")
    with open(os.__file__, "rb") as library:
        library.read(1)


def try_in_child(attempt: Callable[[], object]) -> str:
    """Runs `attempt` in a forked child; "" if it went well, else why not."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            attempt()
            reason = ""
            status = 0
        except (OSError, ValueError) as error:
            reason = str(error)
        finally:
            os.write(writer, json.dumps(reason if status else "").encode())
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    reason = json.loads(said) if said else ""
    return reason or ("" if status == 0 else f"the trial ended with status {status}")
