"""Time left is told from the pace of the work, not from what was compiled before it."""

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
