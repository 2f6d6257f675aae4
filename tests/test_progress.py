"""Time left is told from the pace of the work, not from what was compiled before it."""

import subprocess
import sys
import time
from io import StringIO

import pytest
from rich.console import Console

from envisions_jax import progress
from envisions_jax.progress import Reporter


def lines(monkeypatch: pytest.MonkeyPatch, done: int, *steps: tuple[float, int]) -> list[str]:
    """What is told of a stage of 100 steps, `done` of them before, that takes `steps` at these seconds."""
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    output = StringIO()
    with Reporter(console=Console(file=output, width=100)).stage("explore 1", 100, done) as advance:
        for second, count in steps:
            now = second
            advance(count)
    return output.getvalue().splitlines()


def test_the_first_step_says_nothing_of_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    told = lines(monkeypatch, 0, (60.0, 1), (75.0, 30), (90.0, 69))
    assert told == [
        "  explore 1: 1/100, 1:00",
        "  explore 1: 31/100, 1:15, 34 s left",  # 30 steps in 15 s
        "  explore 1: 100/100, 1:30",
    ]


def test_what_was_done_before_is_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    told = lines(monkeypatch, 50, (20.0, 10), (40.0, 10))
    assert told == ["  explore 1: 60/100, 20 s", "  explore 1: 70/100, 40 s, 1:00 left"]


def test_the_first_candidate_of_a_process_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    output = StringIO()
    reporter = Reporter(console=Console(file=output, width=100))
    monkeypatch.setattr(progress, "process_age", lambda: 21.4)
    with reporter.stage("train 1", 2) as advance:
        advance(2)
    for name in ("explore 1", "refine 1"):
        with reporter.stage(name, 2, samples=True) as advance:
            advance(0)
            advance(2)
    assert output.getvalue().splitlines() == [
        "  train 1: 2/2, 0 s",
        "  explore 1: the first candidate, 21 s after the start",
        "  explore 1: 2/2, 0 s",
        "  refine 1: 2/2, 0 s",
    ]


def test_a_process_is_as_old_as_the_system_says() -> None:
    code = (
        "import time; time.sleep(0.5); from envisions_jax.progress import process_age; print(process_age())"
    )
    began = time.monotonic()
    age = float(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    )
    assert 0.5 <= age <= time.monotonic() - began + 1.1  # the system's start of time is a whole second
