"""The logic environment: Logic-LM programs, judged by the truth value that they give their query.

    with envs.make("logic", workers=2) as logic:
        task = envs.Task("t", "Anne is blue.", "True", meta={"world": "open"})
        [outcome] = logic.execute([(task, "Facts:\\nBlue(Anne, True)\\nQuery:\\nBlue(Anne, True)")])

A program is parsed here, strictly (`envs.logic.language`), and turned into numbers (`envs.logic.theory`);
an engine sees nothing else. "pyke", the paper's, runs in the sandbox of the Python environment, a process for
each program; "forward" runs in this process, where its budget of steps is all that it needs.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, get_args

from envs.base import VACUOUS, Environment, EnvironmentFailure, Outcome, OutcomeKind, Task, checked_entry
from envs.logic import forward
from envs.logic.language import LogicSyntaxError, Program, parse
from envs.logic.theory import WORLDS, OutOfBudget, Theory, World, number
from envs.logic.worlds import Answer, Findings, answer, find, is_vacuous, not_derived
from envs.programs import extract_program
from envs.sandbox.messages import read_answer
from envs.sandbox.pool import SandboxPool
from envs.sandbox.settings import Protection, SandboxSettings, check_options

Engine = Literal["pyke", "forward"]
Vacuous = Literal["own_kind", "by_answer"]
Relations = Literal["answered", "unknown"]
_ANSWERS: dict[World, tuple[Answer, ...]] = {"open": get_args(Answer), "closed": ("True", "False")}
_LOOK_AHEAD_PER_WORKER = 8
_OUTPUT_LIMIT = 1024  # Pyke prints nothing
_CONTRADICTION = "the query and its negation both follow; the negation wins"


@dataclass(frozen=True)
class _Job:
    """A task and what has been read of a program for it; `error` if that is no program."""

    task: Task
    world: World
    program: Program | None = None
    theory: Theory | None = None
    error: str = ""


class LogicEnvironment(Environment):
    """Runs logic programs for tasks that name their world, `meta={"world": "open" | "closed"}`.

    engine: "pyke" (in the sandbox) or "forward" (in this process; it has no use for workers, memory_limit_mb
        and sandbox).
    workers: sandboxed processes.
    time_limit_s: wall-clock seconds each program gets (at most 3600).
    memory_limit_mb: mebibytes a program may use (16 to 1048576).
    vacuous: what becomes of a program that says nothing its query could depend on: an outcome of its own
        kind, "vacuous", or, as in the paper, one by its answer ("by_answer").
    relations: "unknown" gives a query of two arguments or more the answer of one of which nothing is known,
        as the authors' engine does; "answered" answers it.
    sandbox: as in `envs.python.PythonEnvironment`.

    Raises EnvironmentFailure for "pyke" where Pyke is not installed or programs cannot be confined.
    """

    def __init__(
        self,
        engine: Engine = "pyke",
        workers: int = 2,
        time_limit_s: float = 2.0,
        memory_limit_mb: int = 512,
        vacuous: Vacuous = "own_kind",
        relations: Relations = "answered",
        sandbox: Protection = "full",
    ) -> None:
        for name, word, choices in (
            ("engine", engine, get_args(Engine)),
            ("vacuous", vacuous, get_args(Vacuous)),
            ("relations", relations, get_args(Relations)),
        ):
            if word not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {word!r}")
        check_options(workers, time_limit_s, memory_limit_mb, sandbox)
        self._time_limit_s, self._vacuous, self._relations = time_limit_s, vacuous, relations
        self._look_ahead = _LOOK_AHEAD_PER_WORKER * workers
        self._is_closed = False
        self._pool: SandboxPool | None = None
        if engine == "pyke":
            self._pool = _pyke_pool(workers, time_limit_s, memory_limit_mb, sandbox)

    def execute(self, programs: Iterable[tuple[Task, str]]) -> Iterator[Outcome]:
        """One outcome per (task, program), in order. Reads at most 8 programs per worker ahead.

        Raises TypeError for anything else than a Task and a text, ValueError for a task that names no world
        or whose answer is no truth value of it.
        """
        jobs = (_read(task, text) for task, text in map(checked_entry, programs))
        if self._pool is None:
            yield from map(self._run_forward, jobs)
            return
        payloads = ((job, None if job.theory is None else job.theory.to_json()) for job in jobs)
        for job, message in self._pool.in_order(payloads, self._look_ahead):
            yield self._invalid(job) if message is None else self._answered(job, message)

    def processes(self) -> list[int]:
        """Process ids of the workers, for monitoring."""
        return [] if self._pool is None else self._pool.processes()

    def close(self) -> None:
        self._is_closed = True
        if self._pool is not None:
            self._pool.close()

    def _run_forward(self, job: _Job) -> Outcome:
        if self._is_closed:
            raise EnvironmentFailure("the environment has been closed")
        if job.theory is None:
            return self._invalid(job)
        start = time.perf_counter()
        budget = forward.Budget(seconds=self._time_limit_s)
        try:
            findings = find(job.theory, lambda theory, assumed: forward.derive(theory, budget, assumed))
        except OutOfBudget as error:
            return Outcome("timeout", None, "", str(error), time.perf_counter() - start)
        return self._judged(job, findings, time.perf_counter() - start)

    def _answered(self, job: _Job, message: dict[str, Any]) -> Outcome:
        """The outcome of what a worker says of a theory."""
        said = read_answer(message)
        if isinstance(said, Outcome):
            return said
        if isinstance(said.get("timeout"), str):
            return Outcome("timeout", None, "", said["timeout"], message["seconds"])
        found = said.get("findings")
        if not (isinstance(found, list) and len(found) == 3 and all(type(one) is bool for one in found)):
            return Outcome("error", None, "", "the engine's answer is malformed", message["seconds"])
        return self._judged(job, Findings(*found), message["seconds"])

    def _judged(self, job: _Job, findings: Findings, seconds: float) -> Outcome:
        assert job.program is not None
        query, note = job.program.query, ""
        if self._relations == "unknown" and len(query.arguments) > 1:
            value = not_derived(query, job.world)
        else:
            value = answer(findings, query, job.world)
            note = _CONTRADICTION if findings.holds and findings.opposite_holds else ""
        kind: OutcomeKind = "correct" if value == job.task.answer else "wrong"
        if is_vacuous(job.program, findings):
            kind, note = (kind if self._vacuous == "by_answer" else "vacuous"), VACUOUS
        return Outcome(kind, value, "", note, seconds)

    def _invalid(self, job: _Job) -> Outcome:
        return Outcome("invalid", None, "", job.error)


def _pyke_pool(workers: int, time_limit_s: float, memory_limit_mb: int, sandbox: Protection) -> SandboxPool:
    if find_spec("pyke") is None:
        raise EnvironmentFailure(
            'Pyke is not installed: pip install "envisions-jax[logic]", or use engine="forward"'
        )
    settings = SandboxSettings(
        action="envs.logic.pyke_engine:run",
        preload=("envs.logic.pyke_engine",),
        time_limit_s=time_limit_s,
        memory_limit_mb=memory_limit_mb,
        output_limit=_OUTPUT_LIMIT,
        protection=sandbox,
    )
    pool = SandboxPool(workers, settings)
    try:
        pool.wait_for_layers()
    except BaseException:
        pool.close()
        raise
    return pool


def _read(task: Task, text: str) -> _Job:
    """Parses and numbers. Raises ValueError for a task that is none of logic."""
    world = task.meta.get("world")
    if world not in WORLDS:
        raise ValueError(f"task {task.id!r}: meta['world'] must be one of {', '.join(WORLDS)}, not {world!r}")
    if task.answer not in _ANSWERS[world]:
        choices = ", ".join(_ANSWERS[world])
        raise ValueError(f"task {task.id!r}: answer={task.answer!r} must be one of {choices} ({world} world)")
    try:
        program = parse(extract_program(text))
    except LogicSyntaxError as error:
        return _Job(task, world, error=str(error))
    return _Job(task, world, program, number(program, world))
