"""The parent's end of one worker: its process, its two pipes and the jobs it has been given."""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from envs import frames

_PACKAGE_PARENT = str(Path(__file__).resolve().parent.parent)
# The package is put on the path by hand: the worker must not look into the current folder or PYTHONPATH.
_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from {module} import main; sys.exit(main(sys.argv[1:]))"
)
# One thread per worker: a pool of BLAS threads could not be forked, and the workers are the parallelism.
_CLEAN_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C.UTF-8",
    "PYTHONUTF8": "1",
    "PYTHONHASHSEED": "0",  # the order of a set of strings must not depend on the worker
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # Each further arena reserves 64 MiB of the program's address space for the threads that share it.
    "MALLOC_ARENA_MAX": "1",
}
_PIECE = 1 << 16
_GRACE_S = 5.0


class Worker:
    """A started worker process. `module` has the `main` it runs; it gets this process's id and `settings`."""

    def __init__(self, module: str, settings: str) -> None:
        command = [sys.executable, "-s", "-P", "-c", _BOOTSTRAP.format(module=module), _PACKAGE_PARENT]
        self.process = subprocess.Popen(
            [*command, str(os.getpid()), settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_CLEAN_ENVIRONMENT,
            cwd="/",
            start_new_session=True,  # the terminal's Ctrl-C and hang-up are for the parent
            bufsize=0,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.jobs_handle, self.answers_handle = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.jobs_handle, False)
        os.set_blocking(self.answers_handle, False)
        self.assigned: deque[int] = deque()  # job ids in the order the worker answers them
        self.is_ready = False
        self.why_failed = ""  # to start, if it could say
        self.busy_since = time.monotonic()  # since when the first assigned job (or the start) is under way
        self._outgoing = bytearray()
        self._incoming = frames.Unpacker()

    @property
    def wants_to_write(self) -> bool:
        return bool(self._outgoing)

    def give(self, job: int, payload: dict[str, Any]) -> None:
        if not self.assigned:
            self.busy_since = time.monotonic()
        self.assigned.append(job)
        self._outgoing += frames.pack({"id": job, "payload": payload})
        self.write()

    def write(self) -> None:
        """Sends what the pipe takes; a broken pipe is noticed when its answers end."""
        try:
            while self._outgoing:
                del self._outgoing[: os.write(self.jobs_handle, self._outgoing[:_PIECE])]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._outgoing.clear()

    def messages(self) -> Iterator[dict[str, Any]]:
        """All that has arrived. Raises EOFError when the worker is gone and everything it said has been
        read.
        """
        while True:
            try:
                piece = os.read(self.answers_handle, _PIECE)
            except BlockingIOError:
                return
            if not piece:
                raise EOFError("the worker closed its pipe")
            yield from self._incoming.feed(piece)

    def ask_to_stop(self) -> None:
        """Closes the job pipe and sends SIGTERM; `wait` then reaps."""
        if self.process.poll() is None:
            self.process.terminate()

    def wait_for_end(self, seconds: float) -> None:
        """At most so long, and without a word to it."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def wait(self) -> None:
        """Until the process is gone (killed if it does not go by itself) and its pipes are closed."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            self.process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
