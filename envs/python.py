"""The Python environment: first, plain version (one subprocess per program; the sandbox comes next)."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from envs.base import Outcome, Task

_FENCE = re.compile(r"```[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
_RUNNER = """
import sys, json
source, space = sys.stdin.read(), {"__name__": "program"}
try:
    code = compile(source, "<program>", "exec")
except Exception as error:
    answer = {"kind": "invalid", "error": repr(error)}
else:
    try:
        exec(code, space)
        value = space["solution"]() if "solution" in space else space["result"]
        answer = {"kind": "ok", "value": float(value)}
    except BaseException as error:
        answer = {"kind": "error", "error": repr(error)}
print("\\n" + json.dumps(answer))
"""


def extract_program(text: str) -> str:
    """The body of the first fenced block of `text`, or the whole text if it has none; stripped."""
    match = _FENCE.search(text)
    return (match.group(1) if match else text).strip()


class PythonEnvironment:
    def __init__(self, workers: int = 2, time_limit_s: float = 2.0, memory_limit_mb: int = 512) -> None:
        self._time_limit_s = time_limit_s

    def execute(self, programs: Iterable[tuple[Task, str]]) -> Iterator[Outcome]:
        for task, program in programs:
            yield self._run(task, extract_program(program))

    def _run(self, task: Task, program: str) -> Outcome:
        start = time.monotonic()
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-c", _RUNNER],
                input=program,
                text=True,
                capture_output=True,
                timeout=self._time_limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome("timeout", None, "", "", time.monotonic() - start)
        output, _, last = done.stdout.rstrip("\n").rpartition("\n")
        answer = json.loads(last)
        seconds = time.monotonic() - start
        if answer["kind"] != "ok":
            return Outcome(answer["kind"], None, output, answer["error"], seconds)
        correct = abs(answer["value"] - float(task.answer)) <= 1e-4
        return Outcome("correct" if correct else "wrong", answer["value"], output, "", seconds)

    def close(self) -> None: ...

    def __enter__(self) -> "PythonEnvironment":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
