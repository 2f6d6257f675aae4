"""What the growth of a run's cost is told by."""

import os

import pytest

from benchmarks.growth import STAGES, Grown, _peak_gib

RUN = Grown(
    tasks=10,
    iterations=[
        {"generate": 2.0, "execute": 1.0, "train": 6.0},
        {"generate": 4.0, "score": 3.0, "train": 8.0},
    ],
    examples=[4, 10],
    peaks_gib=[1.0, 2.0],
    programs=7,
)


def test_seconds_are_told_for_a_task_and_iteration_and_for_an_example() -> None:
    assert RUN.per_task("generate") == pytest.approx(0.3)
    assert RUN.per_task("generate", "score", of=slice(1, 2)) == pytest.approx(0.7)
    assert RUN.per_task(*STAGES) == pytest.approx(24 / 20)
    assert RUN.per_example() == pytest.approx(1.0)
    assert RUN.per_example(slice(0, 1)) == pytest.approx(1.5)


def test_a_process_has_had_some_memory() -> None:
    assert 0.01 < _peak_gib(os.getpid()) < 100
