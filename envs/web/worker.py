"""A web worker's processes: a guard, in namespaces of its own a first process, and the one that serves.

Where the host allows it the browser has a network and a table of processes to itself: pages reach nothing but
the browser's own port, which takes no page's word, and whatever the browser started ends with its worker.
"""

import os
import signal
import socket
import struct
from contextlib import suppress
from fcntl import ioctl
from functools import partial
from tempfile import TemporaryDirectory, gettempdir

from envs import frames
from envs.sandbox import linux, namespaces
from envs.sandbox.launcher import exit_code, take_over_pipes, watch
from envs.sandbox.lockdown import try_in_child
from envs.web.server import serve
from envs.web.settings import WebSettings
from envs.web.watchdog import kill_browsers

_SIOCSIFFLAGS, _IFF_UP, _INTERFACE = 0x8914, 1, "16sh22x"  # linux/sockios.h, linux/if.h: an ifreq with flags
_SEPARATE = linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWPID | linux.CLONE_NEWIPC


def main(arguments: list[str]) -> int:
    """`arguments`: process id of the parent, settings as JSON."""
    parent, settings = int(arguments[0]), WebSettings.from_json(arguments[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    parent_handle = os.pidfd_open(parent)
    if os.getppid() != parent:
        return 1
    jobs, answers = take_over_pipes()
    shared = _isolate()
    linux.adopt_orphans()
    with TemporaryDirectory(prefix="envisions-web-", ignore_cleanup_errors=True) as scratch:
        os.environ["TMPDIR"] = scratch  # of the browser's profiles
        child = os.fork()
        if child == 0:
            os.close(parent_handle)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            linux.die_with_parent()
            if not shared:
                _mount_own(scratch)
            frames.write(answers, {"shared": shared})
            _reap_until_end(settings, jobs, answers, has_own_network=not shared and _starts_loopback())
        os.close(jobs)
        os.close(answers)
        status = watch(parent_handle, child)
        if not shared:
            with suppress(OSError):  # the child may have been ended before it mounted anything
                linux.unmount(scratch)
        return status


def _reap_until_end(settings: WebSettings, jobs: int, answers: int, *, has_own_network: bool) -> None:
    """Serves in a child, and buries what is left of dead browsers meanwhile: this is their first process."""
    server = os.fork()
    if server == 0:
        linux.die_with_parent()
        os._exit(serve(settings, jobs, answers, has_own_network=has_own_network))
    os.close(jobs)
    os.close(answers)
    while True:
        process, status = os.wait()
        if process == server:
            kill_browsers()
            os._exit(exit_code(status))


def _isolate() -> str:
    """Own network, processes and mounts for the children of this process; "" or why the host forbids it."""
    reason = try_in_child(_try_isolation)
    if not reason:
        namespaces.enter_namespaces(_SEPARATE)
    return reason


def _try_isolation() -> None:
    namespaces.enter_namespaces(_SEPARATE)
    if reason := try_in_child(partial(_mount_own, gettempdir())):
        raise OSError(reason)


def _starts_loopback() -> bool:
    """Brings up the interface `lo`, which a new network has, but down; False where that is not allowed."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            ioctl(any_socket, _SIOCSIFFLAGS, struct.pack(_INTERFACE, b"lo", _IFF_UP))
    except OSError:
        return False
    return True


def _mount_own(scratch: str) -> None:
    """/proc of the new process namespace, through which Chromium finds itself, and a scratch folder that
    ends with it.
    """
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    linux.mount("tmpfs", scratch, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=700")
