"""Environments that execute symbolic solutions and judge their answers. No JAX, no model."""

from envs.base import OUTCOME_KINDS, Environment, EnvironmentFailure, Outcome, OutcomeKind, Task
from envs.registry import make

__all__ = ["OUTCOME_KINDS", "Environment", "EnvironmentFailure", "Outcome", "OutcomeKind", "Task", "make"]
