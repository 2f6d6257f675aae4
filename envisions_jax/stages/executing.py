"""Programs are executed while others are still being sampled, in steps 2 and 9."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from envs import Environment, Outcome, Task

Key = tuple[int, int]  # shard, number in it


class Executing:
    """Runs programs in an environment as they come, in a thread of its own; the environment sees no other.

    What piles up while the environment works goes to it together, so that all of its workers have something
    to do. `then` runs what needs the outcomes of all programs added before it, in the same thread. What was
    asked of `then` is done even if the context ends in an exception; other programs are given up then, but
    for those that the environment is working at.
    """

    def __init__(self, environment: Environment, charge: Callable[[float], None]) -> None:
        """charge: told how many seconds the environment worked."""
        self._environment, self._charge = environment, charge
        self._executor = ThreadPoolExecutor(1)
        self._lock = threading.Lock()
        self._added: dict[Key, tuple[Task, str]] = {}
        self._running: set[Key] = set()
        self._needed: set[Key] = set()  # by what was asked of `then`
        self._jobs: list[Future[None]] = []
        self._has_failed = self._gives_up = False
        self.outcomes: dict[Key, Outcome] = {}

    def add(self, key: Key, task: Task, program: str) -> None:
        """Has a program executed; its outcome will be in `outcomes`. Raises what went wrong before."""
        self._tell_failure()
        with self._lock:
            is_alone = not self._added
            self._added[key] = (task, program)
        if is_alone:
            self._submit(self._execute)

    def then(self, work: Callable[[], None]) -> None:
        """Has `work` done when everything added so far has its outcome."""
        with self._lock:
            self._needed |= self._added.keys() | self._running
        self._submit(work)

    def wait(self) -> None:
        """Until nothing is left to do. Raises what went wrong in the thread."""
        while self._jobs:
            self._jobs.pop(0).result()

    def __enter__(self) -> "Executing":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            with self._lock:
                self._gives_up = True
                self._added = {key: entry for key, entry in self._added.items() if key in self._needed}
        self._executor.shutdown()
        if kind is None:
            self.wait()

    def _tell_failure(self) -> None:
        for job in [job for job in self._jobs if job.done()]:
            job.result()
            self._jobs.remove(job)

    def _submit(self, work: Callable[[], None]) -> None:
        self._tell_failure()
        self._jobs.append(self._executor.submit(self._do, work))

    def _do(self, work: Callable[[], None]) -> None:
        """`work`, unless something before it went wrong."""
        if self._has_failed:
            return
        try:
            work()
        except BaseException:
            self._has_failed = True
            raise

    def _execute(self) -> None:
        with self._lock:
            added, self._added = self._added, {}
            self._running = set(added)
        begin = time.perf_counter()
        for key, outcome in zip(added, self._environment.execute(list(added.values())), strict=True):
            self.outcomes[key] = outcome
            with self._lock:
                self._running.remove(key)
                self._needed.discard(key)
                if self._gives_up and not self._running & self._needed:
                    break
        self._charge(time.perf_counter() - begin)
