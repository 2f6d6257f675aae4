"""Own namespaces (network, processes, IPC, host name, mounts) and a private root that holds Python and
nothing else.

Root unshares directly; anyone else through a user namespace. After `enter_private_root` the host's files do
not exist for the process, whoever it is, and a Python installed under a private home becomes readable to an
unprivileged user.
"""

import os
from collections.abc import Sequence

from envs.sandbox import linux

_SEPARATE = (
    linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWPID | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
)
# Flags of the mount underneath must be repeated on a remount inside a user namespace (mount_namespaces(7)).
_KEPT_FLAGS = (
    (os.ST_NOSUID, linux.MS_NOSUID),
    (os.ST_NODEV, linux.MS_NODEV),
    (os.ST_NOEXEC, linux.MS_NOEXEC),
    (os.ST_NOATIME, linux.MS_NOATIME),
    (os.ST_NODIRATIME, linux.MS_NODIRATIME),
    (os.ST_RELATIME, linux.MS_RELATIME),
)
_ROOT_CANDIDATES = ("/tmp", "/mnt", "/run", "/var")


def enter_namespaces(kinds: int = _SEPARATE) -> None:
    """Separates the calling process, which must have one thread; the process namespace holds for its
    children. `kinds`: CLONE_NEW… flags.
    """
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        linux.unshare(kinds)
        return
    linux.unshare(kinds | linux.CLONE_NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def enter_private_root(paths: Sequence[str]) -> None:
    """Replaces the root by a read-only tmpfs with `paths` bound into it, read-only, at their own places."""
    os.umask(0o022)
    sources = {path: os.path.realpath(path) for path in paths if os.path.exists(path)}
    links = {path: os.readlink(path) for path in ("/lib", "/lib64", "/bin") if os.path.islink(path)}
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    base = next(path for path in _ROOT_CANDIDATES if os.path.isdir(path))
    linux.mount("tmpfs", base, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "size=1m,mode=755")
    old = os.path.join(base, "old")
    os.mkdir(old)
    linux.pivot_root(base, old)
    os.chdir("/")
    for path, target in links.items():
        os.symlink(target, path)
    bound: list[str] = []
    for path in sorted({*sources.values(), *sources}):
        if not any(path == other or path.startswith(other + "/") for other in bound):
            _bind("/old" + sources.get(path, path), path)
            bound.append(path)
    linux.unmount("/old")
    os.rmdir("/old")
    linux.mount(None, "/", None, linux.MS_REMOUNT | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV)


def _bind(source: str, target: str) -> None:
    if os.path.exists(target):  # reached through a link made above, or bound with its folder
        return
    if os.path.isdir(source):
        os.makedirs(target)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    linux.mount(source, target, None, linux.MS_BIND | linux.MS_REC)
    now = os.statvfs(target).f_flag
    kept = sum(flag for present, flag in _KEPT_FLAGS if now & present)
    linux.mount(None, target, None, linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY | kept)
