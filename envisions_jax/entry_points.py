"""What the commands have in common: the model that they open for a run, and how they tell errors."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax

import envs
from envisions_jax.command_line import RunError
from envisions_jax.config import Config
from envisions_jax.metrics import MetricsError
from envisions_jax.models.config import ModelError
from envisions_jax.models.default_model import cache_folder
from envisions_jax.policy import Policy
from envisions_jax.store import StoreError
from envisions_jax.training import CheckpointError, TrainingError


@contextmanager
def speaking_errors() -> Iterator[None]:
    """Turn what the user can put right into `RunError`, which ends in one line."""
    try:
        yield
    except (
        CheckpointError,
        MetricsError,
        ModelError,
        StoreError,
        TrainingError,
        envs.EnvironmentFailure,
    ) as error:
        raise RunError(str(error)) from error


def open_policy(config: Config) -> Policy:
    """The base model, with compiled programs remembered between starts."""
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return Policy.from_pretrained(config.model.path, dtype=config.model.dtype)
