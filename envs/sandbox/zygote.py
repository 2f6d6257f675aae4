"""Second process of a worker: warm and locked in; forks one child per job and sees it to its end.

The child's action writes one line of JSON to a pipe of its own. Whatever else happens (exit, crash, endless
loop, too much output) is told to the parent as it is; what it means is the parent's to say, as the child
may lie.
"""

import contextlib
import gc
import importlib
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from envs import frames
from envs.sandbox import linux, lockdown, seccomp
from envs.sandbox.settings import SandboxSettings

_ANSWER_LIMIT = 1 << 17
_PIECE = 1 << 16
_ANSWER_HANDLE = 3
_HIGHEST_HANDLE = 1024
# A program that a busy host did not let run (it got less than this share of a processor) gets this much
# longer: its outcome should not depend on the load.
_FAIR_SHARE, _STARVED_GRACE_S = 0.8, 0.6
# The first byte of every answer, written before the action starts: without it the job never ran.
_CONFINED = b"+"
# Takes the job's payload, returns its answer as one line.
Action = Callable[[dict[str, Any]], bytes]


@dataclass(frozen=True)
class _Child:
    """What every child needs, computed once."""

    action: Action
    filter: bytes | None
    time_limit_s: float
    memory_bytes: int
    null: int


def main(settings: SandboxSettings, layers: list[str], user: int, jobs: int, answers: int) -> NoReturn:
    """Serves jobs until the parent closes the pipe, as `user` if root started it."""
    linux.die_with_parent()
    os.umask(0o077)
    child = _prepare(settings, layers, user)
    try:
        frames.write(answers, {"ready": os.getpid()})
        while (job := frames.read(jobs)) is not None:
            answer = _run(child, job["payload"], settings.output_limit)
            frames.write(answers, {"id": job["id"], **answer})
    except BrokenPipeError:  # the parent has given up and does not want to know
        pass
    os._exit(0)


def _prepare(settings: SandboxSettings, layers: list[str], user: int) -> _Child:
    """Imports, then locks this process in; children inherit all of it."""
    for name in settings.preload:
        importlib.import_module(name)
    name, function = settings.action.split(":")
    module = importlib.import_module(name)
    module.warm_up()
    null = os.open(os.devnull, os.O_RDWR)
    linux.collapse_memory()
    memory = _address_space() + (settings.memory_limit_mb << 20)
    _be_killed_first()
    paths = lockdown.python_paths()
    sys.path[:] = [entry for entry in sys.path if entry in paths or _is_below(entry, paths)]
    importlib.invalidate_caches()
    lockdown.lock_down(layers, paths, user)
    linux.die_with_parent()  # the change of user has cleared it
    os.environ.clear()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    gc.collect()
    gc.freeze()  # so that a collection in a child does not copy the zygote's pages
    program = seccomp.build_filter() if "seccomp" in layers else None
    return _Child(getattr(module, function), program, settings.time_limit_s, memory, null)


def _is_below(entry: str, paths: list[str]) -> bool:
    return any(entry.startswith(path + "/") for path in paths)


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _be_killed_first() -> None:
    """Children inherit a high OOM score, so that the kernel spares the trainer beside them."""
    # A courtesy, not a wall: some containers mount /proc read-only.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("800")


def _run(child: _Child, payload: dict[str, Any], output_limit: int) -> dict[str, Any]:
    """One job in one child, dead and reaped after: {"status", "answer", "output", "code", "seconds"}."""
    answer_read, answer_write = os.pipe()
    output_read, output_write = os.pipe()
    start = time.monotonic()
    process = os.fork()
    if process == 0:
        _be_child(child, payload, answer_write, output_write)
    os.close(answer_write)
    os.close(output_write)
    answer, output = _Collector(answer_read, _ANSWER_LIMIT), _Collector(output_read, output_limit)
    handle = os.pidfd_open(process)
    try:
        status = _follow(handle, answer, output, start + child.time_limit_s)
        if status == "timeout" and _cpu_seconds(process) < _FAIR_SHARE * child.time_limit_s:
            status = _follow(handle, answer, output, time.monotonic() + _STARVED_GRACE_S)
        seconds = time.monotonic() - start
        os.kill(process, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        answer.drain()
        output.drain()
    finally:
        os.close(handle)
        os.close(answer_read)
        os.close(output_read)
    if not answer.data.startswith(_CONFINED):
        status = "unconfined"
    elif status != "timeout" and output.is_over:
        status = "output"
    return {
        "status": status,
        "answer": answer.text()[len(_CONFINED) :].partition("\n")[0],
        "output": output.text(),
        "code": code,
        "seconds": seconds,
    }


def _cpu_seconds(process: int) -> float:
    """CPU time of another process: its clock id is its number in the kernel's encoding
    (clock_getcpuclockid(3)).
    """
    return time.clock_gettime((~process << 3) | 2)


class _Collector:
    """Reads a pipe without ever waiting, and keeps no more than `limit` bytes of it."""

    def __init__(self, handle: int, limit: int) -> None:
        os.set_blocking(handle, False)
        self.handle, self._limit = handle, limit
        self.data = bytearray()
        self.is_over = self.at_end = False

    def read(self) -> bool:
        """Takes one piece; whether there was one."""
        try:
            piece = os.read(self.handle, _PIECE)
        except BlockingIOError:
            return False
        self.at_end = not piece
        self.data += piece
        if len(self.data) > self._limit:
            self.is_over = True
            del self.data[self._limit :]
        return bool(piece)

    def drain(self) -> None:
        while not self.is_over and self.read():
            pass

    def text(self) -> str:
        return self.data.decode("utf-8", errors="replace")


def _follow(handle: int, answer: _Collector, output: _Collector, deadline: float) -> str:
    """Until the answer's line is whole, the child exits, its time is over or it wrote too much."""
    watch = select.poll()
    for source in (handle, answer.handle, output.handle):
        watch.register(source, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return "timeout"
        ready = {source for source, _ in watch.poll(left * 1000)}
        for pipe in (answer, output):
            if pipe.handle in ready:
                pipe.read()
                if pipe.at_end:  # closed by the child, which may well go on
                    watch.unregister(pipe.handle)
        if handle in ready:
            answer.drain()
        if output.is_over or answer.is_over:
            return "output"
        if b"\n" in answer.data:
            return "answered"
        if handle in ready:
            return "exited"


def _be_child(child: _Child, payload: dict[str, Any], answer: int, output: int) -> NoReturn:
    """Confines itself, says so, runs the action, writes its answer, exits. Nothing it holds leads out."""
    write, leave, handle = os.write, os._exit, _ANSWER_HANDLE  # the action may replace what modules hold
    try:
        os.dup2(child.null, 0)
        os.dup2(output, 1)
        os.dup2(child.null, 2)
        os.dup2(answer, _ANSWER_HANDLE)
        os.closerange(_ANSWER_HANDLE + 1, _HIGHEST_HANDLE)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        linux.die_with_parent()
        lockdown.limit_resources(child.time_limit_s, child.memory_bytes)
        if child.filter is not None:
            linux.install_seccomp(child.filter)
        random.seed(0)  # fork has reseeded it; an outcome must not depend on chance
        write(handle, _CONFINED)
        write(handle, child.action(payload))
    finally:
        leave(0)
