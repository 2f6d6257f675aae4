"""A training in a process of its own, for tests that kill it: prints a line after each step.

Run as `python tests/training/interrupted.py <checkpoint dir>`; imported for what it trains.
"""

import sys
from typing import Any

import numpy as np

from envisions_jax import Policy, testing
from envisions_jax.training import Example, StepStats, TrainConfig, Trainer, TrainStats
from envisions_jax.training.trainer import OnStep

CONFIG = TrainConfig(
    learning_rate=1e-2, batch_size=4, epochs=2, row_length=32, rows=1, max_length=64, checkpoint_every_steps=2
)
SEED = 5


def examples(count: int = 20) -> list[Example]:
    rng = np.random.default_rng(1)
    return [
        Example(rng.integers(3, 250, rng.integers(2, 12)).tolist(), [*rng.integers(3, 250, 3).tolist(), 2])
        for _ in range(count)
    ]


def train(policy: Policy, checkpoint_dir: str | None, on_step: OnStep | None) -> tuple[Any, TrainStats]:
    trainer = Trainer(policy, CONFIG)
    return trainer.train(policy.params, examples(), SEED, checkpoint_dir=checkpoint_dir, on_step=on_step)


def report(stats: StepStats) -> None:
    print(f"step {stats.step}", flush=True)


if __name__ == "__main__":
    train(testing.tiny_policy(), sys.argv[1], report)
