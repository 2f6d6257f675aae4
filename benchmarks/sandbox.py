"""Programs a second: the full sandbox with 2 workers, beside one `python` process a program.

The peer is what evaluation scripts usually do, without any sandbox: a fresh interpreter that imports what the
program asks for, one after the other, and also two at a time, which such scripts could do. Simple programs
import nothing; the others import SymPy and solve an equation. Every answer is checked on both sides.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import envs
from benchmarks.measure import BenchmarkError, Case, Measured, Side, Work, interleave
from benchmarks.runner import Bench, main

TITLE = "Sandbox: 2 workers, every layer in force, beside one `python` a program"
WORKERS = 2
Program = tuple[envs.Task, str]


def simple_programs(count: int) -> list[Program]:
    """`count` functions that subtract."""
    return [
        (
            envs.Task(f"simple-{n}", "", 3 * n + 1),
            f"def solution():\n    apples = {5 * n + 1}\n    eaten = {2 * n}\n    return apples - eaten",
        )
        for n in range(count)
    ]


def sympy_programs(count: int) -> list[Program]:
    """`count` programs that solve a linear equation with SymPy."""
    return [
        (
            envs.Task(f"sympy-{n}", "", n + 2),
            "from sympy import *\n\ndef solution():\n    x = symbols('x')\n"
            f"    return int(solve(Eq({n + 3} * x - 1, {(n + 3) * (n + 2) - 1}), x)[0])",
        )
        for n in range(count)
    ]


def measure(bench: Bench) -> list[Case]:
    """Simple programs, then those that import SymPy."""
    quick, repeats = bench.options.quick, bench.options.repeats
    with envs.make("python", workers=WORKERS, time_limit_s=5.0, memory_limit_mb=512) as environment:
        simple = simple_programs(20 if quick else 1000), 4 if quick else 60
        sympy = sympy_programs(10 if quick else 400), 2 if quick else 12
        return [
            Case("simple programs", "programs", *_measure(environment, *simple, 1, repeats), asked_rate=200),
            Case("simple, peer 2 at a time", "programs", *_measure(environment, *simple, 2, repeats)),
            Case("import SymPy", "programs", *_measure(environment, *sympy, 1, repeats), asked=30),
            Case("SymPy, peer 2 at a time", "programs", *_measure(environment, *sympy, 2, repeats)),
        ]


def _measure(
    environment: envs.Environment, programs: Sequence[Program], for_peer: int, at_once: int, repeats: int
) -> tuple[Measured, Measured]:
    """All `programs` for ours, the first `for_peer` for the peer, which is slow, `at_once` at a time."""

    def ours(programs: Sequence[Program]) -> Work:
        for (task, _), outcome in zip(programs, environment.execute(programs), strict=True):
            if not outcome.correct:
                raise BenchmarkError(f"{task.id} in the sandbox: {outcome}")
        return Work(len(programs))

    def peer(programs: Sequence[Program]) -> Work:
        with ThreadPoolExecutor(at_once) as threads:
            list(threads.map(run_in_process, programs))
        return Work(len(programs))

    few = programs[:for_peer]
    return interleave(
        Side("ours", lambda turn: ours(programs), lambda: ours(few)),
        Side("subprocess", lambda turn: peer(few), lambda: peer(few[:at_once])),
        repeats,
    )


def run_in_process(program: Program) -> None:
    """One fresh interpreter for one program.

    Raises:
      BenchmarkError: it did not print the right answer.
    """
    task, text = program
    command = [sys.executable, "-c", f"{text}\n\nprint(solution())"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.stdout.strip() != str(task.answer):
        raise BenchmarkError(f"{task.id} in a process of its own: {done.stdout!r} {done.stderr[-300:]!r}")


if __name__ == "__main__":
    main(["sandbox"])
