"""A pool of worker processes: jobs in, answers out by ticket, dead workers replaced.

Everything happens inside `submit` and `wait` of the calling thread: no thread, no shared memory, no file. A
pool is for one thread at a time; a second one that comes meanwhile is refused.
"""

import logging
import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from envs.base import EnvironmentFailure
from envs.worker import Worker

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
# Two jobs each: the next one is already there when a worker finishes.
_JOBS_PER_WORKER = 2
ATTEMPTS = 2
# Of starts in a row that fail by themselves, and of those that something kills, which may well pass.
_FAILED_STARTS_LIMIT = 3
_KILLED_STARTS_LIMIT = 10
_DIED = "died"
_LAST_WORDS_S = 2.0
_KILLED = ": killed, perhaps because memory ran out"
_START_LIMIT_S = 180.0  # SymPy without compiled files on a busy machine takes long to import


@dataclass
class _Job:
    payload: dict[str, Any]
    attempts: int = 0


class Pool:
    """`size` workers of one kind. Answers are the workers' messages, or {"status": "infrastructure"}.

    A worker says {"ready": True} once, then one {"id": ticket, "status": ..., ...} for each job, or
    {"failed": why} and ends; what else it says before it is ready goes to `_greeted`. The kinds of workers
    are subclasses.

    launcher: the module whose `main` a worker runs, with `settings` as its orders.
    answer_limit_s: seconds after which a worker that owes an answer counts as hung.
    """

    def __init__(self, size: int, launcher: str, settings: str, answer_limit_s: float) -> None:
        self._launcher, self._orders, self._answer_limit_s = launcher, settings, answer_limit_s
        self._jobs: dict[int, _Job] = {}
        self._queue: deque[int] = deque()
        self._answers: dict[int, dict[str, Any]] = {}
        self._next = 0
        self._failed_starts = self._killed_starts = 0
        self._in_use = threading.Lock()
        self._workers: list[Worker] = []
        # Also when the pool is forgotten or the interpreter exits. Holds the list, not the pool.
        self._finalizer = weakref.finalize(self, _stop, self._workers, os.getpid())
        for _ in range(size):
            self._workers.append(Worker(launcher, settings))

    def processes(self) -> list[int]:
        """Process ids of the workers (their launchers)."""
        return [worker.process.pid for worker in self._workers]

    def submit(self, payload: dict[str, Any]) -> int:
        """Queues a job and returns its ticket, which must be redeemed by `wait` or given up by `forget`."""
        if not self._finalizer.alive:
            raise EnvironmentFailure("the environment has been closed")
        with self._alone():
            ticket, self._next = self._next, self._next + 1
            self._jobs[ticket] = _Job(payload)
            self._queue.append(ticket)
            self._hand_out()
            self._pump(0.0)
        return ticket

    def is_done(self, ticket: int) -> bool:
        return ticket in self._answers

    def wait(self, ticket: int) -> dict[str, Any]:
        with self._alone():
            while ticket not in self._answers:
                if not self._finalizer.alive:
                    raise EnvironmentFailure("the environment has been closed")
                self._pump(1.0)
            return self._answers.pop(ticket)

    def forget(self, ticket: int) -> None:
        """Gives up a job: its answer, if it still comes, is dropped."""
        self._answers.pop(ticket, None)
        self._jobs.pop(ticket, None)
        if ticket in self._queue:
            self._queue.remove(ticket)

    @overload
    def in_order(
        self, jobs: Iterable[tuple[T, dict[str, Any]]], look_ahead: int
    ) -> Iterator[tuple[T, dict[str, Any]]]: ...

    @overload
    def in_order(
        self, jobs: Iterable[tuple[T, dict[str, Any] | None]], look_ahead: int
    ) -> Iterator[tuple[T, dict[str, Any] | None]]: ...

    def in_order(
        self, jobs: Iterable[tuple[T, dict[str, Any] | None]], look_ahead: int
    ) -> Iterator[tuple[T, dict[str, Any] | None]]:
        """The answer to each job beside what came with it, in order; None is answered by None, without a
        worker. Reads at most `look_ahead` jobs ahead of what it yielded; those it is left with are given up.
        """
        waiting: deque[tuple[T, int | None]] = deque()
        source, is_exhausted = iter(jobs), False
        try:
            while True:
                while not is_exhausted and len(waiting) < look_ahead:
                    if waiting and (waiting[0][1] is None or self.is_done(waiting[0][1])):
                        break
                    job = next(source, None)
                    if job is None:
                        is_exhausted = True
                    else:
                        waiting.append((job[0], None if job[1] is None else self.submit(job[1])))
                if not waiting:
                    return
                beside, ticket = waiting[0]
                answer = None if ticket is None else self.wait(ticket)
                waiting.popleft()
                yield beside, answer
        finally:
            for _, ticket in waiting:
                if ticket is not None:
                    self.forget(ticket)

    def close(self) -> None:
        """Ends all workers and waits until they are gone. Closing twice is fine."""
        self._finalizer()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Raises RuntimeError if another thread is inside: both would write to the same workers."""
        if not self._in_use.acquire(blocking=False):
            raise RuntimeError("an environment is for one thread at a time, and two use this one")
        try:
            yield
        finally:
            self._in_use.release()

    def _pump(self, timeout_s: float) -> None:
        """Moves bytes for at most `timeout_s`, then deals with what arrived and with workers that died or
        hang.
        """
        watch = select.poll()
        by_handle: dict[int, Worker] = {}
        for worker in self._workers:
            by_handle[worker.answers_handle] = worker
            watch.register(worker.answers_handle, select.POLLIN)
            if worker.wants_to_write:
                by_handle[worker.jobs_handle] = worker
                watch.register(worker.jobs_handle, select.POLLOUT)
        for handle, _ in watch.poll(timeout_s * 1000):
            worker = by_handle[handle]
            if worker not in self._workers:  # replaced in this round; its handles may be another's by now
                continue
            if handle == worker.jobs_handle:
                worker.write()
            else:
                self._receive(worker)
        self._replace_silent_workers()
        self._hand_out()

    def _receive(self, worker: Worker) -> None:
        try:
            for message in worker.messages():
                self._take(worker, message)
        except EOFError:
            self._replace(worker, _DIED)

    def _take(self, worker: Worker, message: dict[str, Any]) -> None:
        if "ready" in message:
            worker.is_ready = True
            self._failed_starts = self._killed_starts = 0
        elif "failed" in message:
            worker.why_failed = message["failed"]
        elif "id" not in message:
            self._greeted(message)
        else:
            worker.assigned.popleft()
            worker.busy_since = time.monotonic()
            self._answered(message)

    def _greeted(self, message: dict[str, Any]) -> None:
        """What a worker says of itself before it is ready."""

    def _answered(self, message: dict[str, Any]) -> None:
        """Files the answer to a job, unless the job was given up."""
        ticket = message["id"]
        if ticket in self._jobs:
            del self._jobs[ticket]
            self._answers[ticket] = message

    def _try_again(self, ticket: int) -> bool:
        """Queues a job once more, first in line; False if it has had its attempts."""
        job = self._jobs[ticket]
        if job.attempts + 1 >= ATTEMPTS:
            return False
        job.attempts += 1
        self._queue.appendleft(ticket)
        return True

    def _replace_silent_workers(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            waits = worker.is_ready and bool(worker.assigned)
            limit = self._answer_limit_s if waits else _START_LIMIT_S
            if (waits or not worker.is_ready) and now - worker.busy_since > limit:
                self._receive(
                    worker
                )  # the parent may have been away for long: the answer may lie in the pipe
                if worker in self._workers and now - worker.busy_since > limit:
                    self._replace(worker, f"did not answer within {limit:.0f} s")

    def _replace(self, worker: Worker, what: str) -> None:
        """Starts another worker; the job it was at is tried once more, those behind it are as new."""
        self._workers.remove(worker)
        if what == _DIED:  # what is left of it ends by itself, and then says what it died of
            worker.wait_for_end(_LAST_WORDS_S)
        worker.ask_to_stop()
        worker.wait()
        status = worker.process.returncode
        was_killed = status in (-9, 137)  # its first process, or one below it
        hint = _KILLED if was_killed else ""
        said = worker.why_failed or f"exit status {status}{hint}"
        _LOG.warning("a worker %s (%s) and is replaced", what, said)
        if not worker.is_ready:
            self._killed_starts += was_killed
            self._failed_starts += not was_killed
            if self._failed_starts >= _FAILED_STARTS_LIMIT or self._killed_starts >= _KILLED_STARTS_LIMIT:
                self.close()
                raise EnvironmentFailure(
                    worker.why_failed
                    or f"workers do not start: the last one {what} with exit status {status}{hint}; "
                    "its own words are on stderr"
                )
        for place, ticket in enumerate(reversed(worker.assigned)):
            self._retry(ticket, is_suspect=place == len(worker.assigned) - 1)
        self._workers.append(Worker(self._launcher, self._orders))

    def _retry(self, ticket: int, is_suspect: bool) -> None:
        """Queues a job of a dead worker again; one that may have killed it has no attempts without end."""
        if ticket not in self._jobs:
            return
        if not is_suspect:
            self._queue.appendleft(ticket)
        elif not self._try_again(ticket):
            del self._jobs[ticket]
            self._answers[ticket] = {"status": "infrastructure", "seconds": 0.0}

    def _hand_out(self) -> None:
        """Gives queued jobs to the ready workers with the least to do."""
        ready = [worker for worker in self._workers if worker.is_ready]
        while self._queue and ready:
            worker = min(ready, key=lambda one: len(one.assigned))
            if len(worker.assigned) >= _JOBS_PER_WORKER:
                return
            ticket = self._queue.popleft()
            worker.give(ticket, self._jobs[ticket].payload)


def _stop(workers: list[Worker], owner: int) -> None:
    if os.getpid() != owner:  # a fork of the owner has ended: the workers are not its own
        return
    for worker in workers:
        worker.ask_to_stop()
    for worker in workers:
        worker.wait()
    workers.clear()
