"""First process of a worker: finds the sandbox's layers, separates itself, forks the zygote and watches.

It lives exactly as long as its parent and its zygote: the parent's death (seen through a pidfd, so that
`kill -9` and threads in the parent do not matter), the zygote's death or SIGTERM end the whole worker. It
ignores SIGINT: Ctrl-C is for the parent, which then closes its pool.
"""

import os
import select
import signal

from envs import frames
from envs.sandbox import linux, lockdown, namespaces, zygote
from envs.sandbox.settings import LAYERS, SandboxSettings, missing_for_full


def main(arguments: list[str]) -> int:
    """`arguments`: process id of the parent, settings as JSON. Jobs come on stdin, answers go to stdout."""
    parent, settings = int(arguments[0]), SandboxSettings.from_json(arguments[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Held back until there is a zygote to take along, so that an early end leaves no orphan either.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    parent_handle = os.pidfd_open(parent)
    if os.getppid() != parent:  # it died before the line above, and its number may be someone else's now
        return 1
    jobs, answers = take_over_pipes()
    user = lockdown.draw_user()
    layers, reasons = lockdown.find_layers(_wanted(settings), user)
    missing = missing_for_full(layers)
    try:
        frames.write(answers, {"layers": layers, "reasons": reasons})
    except BrokenPipeError:  # the parent has given up: nobody is left to work for
        return 1
    if settings.protection == "full" and missing:
        return 1
    if "namespaces" in layers:
        namespaces.enter_namespaces()
    linux.adopt_orphans()
    child = os.fork()
    if child == 0:
        os.close(parent_handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        zygote.main(settings, layers, user, jobs, answers)
    os.close(jobs)
    os.close(answers)
    return watch(parent_handle, child)


def _wanted(settings: SandboxSettings) -> list[str]:
    if settings.protection == "none":
        return []
    return [layer for layer in LAYERS if layer not in settings.without]


def take_over_pipes() -> tuple[int, int]:
    """Moves the job and answer pipes off 0 and 1, where programs would find them; /dev/null takes their
    place.
    """
    jobs, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    return jobs, answers


def watch(parent_handle: int, child: int) -> int:
    """Blocks until the parent or the zygote is gone, then leaves no process behind."""

    ended = []

    def end(number: int, frame: object) -> None:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:  # still alive
            ended.append(number)
            os.kill(child, signal.SIGKILL)

    child_handle = os.pidfd_open(child)
    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    watch = select.poll()
    watch.register(parent_handle, select.POLLIN)
    watch.register(child_handle, select.POLLIN)
    ready = {handle for handle, _ in watch.poll()}
    if child_handle not in ready:
        end(signal.SIGTERM, None)
    _, status = os.waitpid(child, 0)
    _reap_orphans()
    code = exit_code(status)  # of SIGKILL: for want of memory most often, unless it was ours
    return 0 if ended and code == exit_code(signal.SIGKILL) else code or 1


def exit_code(status: int) -> int:
    """What a shell makes of a wait status: 128 and the signal that killed the process, else its own code."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _reap_orphans() -> None:
    """Waits for children the zygote left (they have SIGKILL on its death); none can be forked after it."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
