"""Supervised fine-tuning on L1 + L2: examples, packing, losses, the trainer and its checkpoints."""

from envisions_jax.training.checkpoints import CheckpointError, has_params, restore_params, save_params
from envisions_jax.training.config import TrainConfig
from envisions_jax.training.examples import Example, Truncated, truncate
from envisions_jax.training.trainer import StepStats, Trainer, TrainingError, TrainStats

__all__ = [
    "CheckpointError",
    "Example",
    "StepStats",
    "TrainConfig",
    "TrainStats",
    "Trainer",
    "TrainingError",
    "Truncated",
    "has_params",
    "restore_params",
    "save_params",
    "truncate",
]
