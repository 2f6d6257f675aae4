"""The Python environment: programs of the math domain, run in a kernel-enforced sandbox.

A program defines `solution()` (imports and helpers above it are fine) or sets `result`; a fenced block
around it is taken off. The right answer never reaches the process that runs the program: this side
compares, and asks a second kind of worker, which never runs programs, where only mathematics can tell
(LaTeX).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from envs.answers import Answer, decode_answer, quick_compare
from envs.base import Environment, Outcome, OutcomeKind, Task, checked_entry
from envs.programs import extract_program
from envs.sandbox import judge, program
from envs.sandbox.messages import read_answer, said_by
from envs.sandbox.pool import SandboxPool
from envs.sandbox.settings import Protection, SandboxSettings, check_options

_JUDGE_LIMIT_S = 3.0
_JUDGE_MEMORY_MB = 1024
_LOOK_AHEAD_PER_WORKER = 8


class PythonEnvironment(Environment):
    """Runs Python programs in `workers` sandboxed processes.

    time_limit_s: wall-clock seconds each program gets (at most 3600); one that the busy host hardly let run
        gets 0.6 more.
    memory_limit_mb: mebibytes a program may use beyond what the preloaded packages take (16 to 1048576).
    output_limit: bytes of stdout kept; a program that writes more is ended ("error").
    sandbox: "full" (raises EnvironmentFailure if this host cannot confine programs), "best" (whatever the
        host has, with a warning), "none" (trusted programs only).
    without: sandbox layers to leave out although the host has them (see `envs.sandbox.settings.LAYERS`).
    """

    def __init__(
        self,
        workers: int = 2,
        time_limit_s: float = 2.0,
        memory_limit_mb: int = 512,
        output_limit: int = 16_384,
        sandbox: Protection = "full",
        without: Sequence[str] = (),
    ) -> None:
        if not isinstance(output_limit, int) or not 1 <= output_limit <= 1 << 30:
            raise ValueError(f"output_limit must be a whole number from 1 to {1 << 30}, not {output_limit!r}")
        check_options(workers, time_limit_s, memory_limit_mb, sandbox, without)
        self._look_ahead = _LOOK_AHEAD_PER_WORKER * workers
        self._judge: SandboxPool | None = None
        self._settings = SandboxSettings(
            action="envs.sandbox.program:run",
            preload=program.PRELOAD,
            time_limit_s=time_limit_s,
            memory_limit_mb=memory_limit_mb,
            output_limit=output_limit,
            protection=sandbox,
            without=tuple(without),
        )
        self._pool = SandboxPool(workers, self._settings)
        try:
            self.layers = self._pool.wait_for_layers()
        except BaseException:
            self._pool.close()
            raise

    def execute(self, programs: Iterable[tuple[Task, str]]) -> Iterator[Outcome]:
        """One outcome per (task, program), in order. Reads at most 8 programs per worker ahead of what it
        yielded.

        Raises TypeError for anything else than a Task and a text.
        """
        checked = (checked_entry(entry) for entry in programs)
        jobs = ((task, {"program": extract_program(text)}) for task, text in checked)
        for task, answer in self._pool.in_order(jobs, self._look_ahead):
            yield self._outcome(task, answer)

    def processes(self) -> list[int]:
        """Process ids of the workers, for monitoring."""
        return self._pool.processes()

    def close(self) -> None:
        self._pool.close()
        if self._judge is not None:
            self._judge.close()

    def _outcome(self, task: Task, message: dict[str, Any]) -> Outcome:
        """The parent's reading of what the zygote reports; `message["answer"]` was written by untrusted
        code.
        """
        said = read_answer(message)
        if isinstance(said, Outcome):
            return said
        output, seconds = message["output"], message["seconds"]
        answer = decode_answer(said.get("answer"))
        if answer is None:
            return Outcome("error", None, output, "the program's answer is malformed", seconds)
        return self._judged(task, answer, output, seconds)

    def _judged(self, task: Task, answer: Answer, output: str, seconds: float) -> Outcome:
        equal, error = quick_compare(answer, task.answer), ""
        if equal is None:
            equal, error = self._ask_judge(answer, str(task.answer))
        kind: OutcomeKind = "infrastructure" if equal is None else "correct" if equal else "wrong"
        return Outcome(kind, answer.value, output, error, seconds)

    def _ask_judge(self, answer: Answer, right: str) -> tuple[bool | None, str]:
        """Whether they are the same mathematics, and why that could not be told if it could not.

        None if the judge was killed or failed twice. One that gives up, at its time limit or with an
        exception, would do so again: that is the answer's doing, and the answer is not right.
        """
        if self._judge is None:
            settings = replace(
                self._settings,
                action="envs.sandbox.judge:run",
                preload=judge.PRELOAD,
                time_limit_s=_JUDGE_LIMIT_S,
                memory_limit_mb=_JUDGE_MEMORY_MB,
            )
            self._judge = SandboxPool(1, settings)
        number = None if answer.number is None else str(answer.number)
        payload = {"value": answer.text, "number": number, "answer": right}
        message = self._judge.wait(self._judge.submit(payload))
        if _was_killed(message):
            message = self._judge.wait(self._judge.submit(payload))
        if message["status"] == "answered":
            return said_by(message).get("equal") is True, ""
        failed = _was_killed(message) or message["status"] in ("infrastructure", "unconfined")
        error = f"the comparison with the right answer did not end well ({message['status']})"
        return None if failed else False, error


def _was_killed(message: dict[str, Any]) -> bool:
    """Whether a signal ended the child, before it answered and within its limits."""
    return bool(message["status"] == "exited" and message["code"] < 0)
