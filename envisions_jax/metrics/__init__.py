"""The numbers of an iteration, computed from trajectories, and the files they are written to. No JAX."""

from envisions_jax.metrics.iteration import IterationMetrics, iteration_metrics
from envisions_jax.metrics.learning import (
    LearningCounts,
    RefinementRates,
    accuracy,
    distinct_correct,
    exploratory_ability,
    learning_counts,
    log_prob_margin,
    mean_pass_at_k,
    pass_at_k,
    refinement_rates,
    solved_tasks,
    stability,
)
from envisions_jax.metrics.scores import Judged, Scores, scores
from envisions_jax.metrics.writer import MetricsError, MetricsWriter, read_metrics, without_time

__all__ = [
    "IterationMetrics",
    "Judged",
    "LearningCounts",
    "MetricsError",
    "MetricsWriter",
    "RefinementRates",
    "Scores",
    "accuracy",
    "distinct_correct",
    "exploratory_ability",
    "iteration_metrics",
    "learning_counts",
    "log_prob_margin",
    "mean_pass_at_k",
    "pass_at_k",
    "read_metrics",
    "refinement_rates",
    "scores",
    "solved_tasks",
    "stability",
    "without_time",
]
