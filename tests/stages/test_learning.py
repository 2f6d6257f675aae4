"""What a training tells while it goes on."""

from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from envisions_jax.config import Config
from envisions_jax.progress import Reporter
from envisions_jax.stages import learning
from envisions_jax.stages.run import Run
from envisions_jax.store import TrajectoryStore
from envisions_jax.training import Example, StepStats, Trainer
from envisions_jax.workdir import WorkDir


class HalfDone(Trainer):
    """A trainer whose earlier call was killed after 2 of 4 steps."""

    def __init__(self) -> None:
        """Trains nothing."""

    def plan_rows(self, examples: Any, kept: Any = None) -> int:
        return 64

    def train(
        self, params0: Any, examples: Any, seed: Any = 0, *, on_step: Any = None, **settings: Any
    ) -> Any:
        for step in (3, 4):
            on_step(StepStats(step, 4, 1.0, 1.0, None, 1.0, 1e-5, 16, 9, 99, 99, 128))
        return params0, None


def test_a_training_that_goes_on_counts_what_an_earlier_start_has_done(tmp_path: Path) -> None:
    output, written = StringIO(), []
    run = object.__new__(Run)
    parts = {
        "config": Config(),
        "store": TrajectoryStore(tmp_path / "store.sqlite"),
        "workdir": WorkDir(tmp_path),
        "reporter": Reporter(console=Console(file=output, width=100)),
        "metrics": SimpleNamespace(write=lambda *_, step, **__: written.append(step)),
    }
    for name, value in parts.items():
        object.__setattr__(run, name, value)
    size = run.config.train.batch_size
    examples = [Example([3], [2])] * (4 * size)
    learning._train(run, HalfDone(), 0, {}, examples, 0, 1)
    assert output.getvalue().splitlines()[-1].startswith("  train 1: 4/4, ")
    assert written == [3, 4]
