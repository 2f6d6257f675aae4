"""The candidate pool (step 6): what was kept, by task, across iterations, exact duplicates once."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from envisions_jax.selection.rules import SelectionConfig
from envisions_jax.store.records import Trajectory


@dataclass
class TaskPool:
    """The pool of one task, each list in the order in which candidates were seen."""

    positives: list[Trajectory] = field(default_factory=list)
    negatives: list[Trajectory] = field(default_factory=list)


def is_usable(trajectory: Trajectory) -> bool:
    """Whether a candidate may become a training example: it has text, and so a finite self-reward."""
    reward = trajectory.self_reward
    return bool(trajectory.text.strip()) and (reward is None or math.isfinite(reward))


def build_pools(
    kept: Iterable[Trajectory],
    config: SelectionConfig,
    *,
    iteration: int,
    questions: Mapping[str, str] | None = None,
) -> tuple[dict[str, TaskPool], dict[str, int]]:
    """Pools by task id, in order of first sight, and counts of what was left out ("duplicates", "unusable")
    or filed as a negative although correct ("unquoted").

    `kept` comes in the order iteration, task, k: the first of equal texts is the one that stays.
    `questions` (task id → question) is needed where positives must quote the question.
    """
    pools: dict[str, TaskPool] = {}
    counts = {"duplicates": 0, "unusable": 0, "unquoted": 0}
    seen: set[tuple[str, str]] = set()
    for trajectory in kept:
        if trajectory.iteration > iteration or (trajectory.iteration < iteration and not config.pool):
            continue
        if trajectory.outcome == "infrastructure" or not is_usable(trajectory):
            counts["unusable"] += 1
            continue
        name = ("" if config.dedup == "global" else trajectory.task_id, trajectory.text)
        if config.dedup != "none" and name in seen:
            counts["duplicates"] += 1
            continue
        seen.add(name)
        pool = pools.setdefault(trajectory.task_id, TaskPool())
        positive = trajectory.correct and _quotes(trajectory, config, questions)
        counts["unquoted"] += trajectory.correct and not positive
        (pool.positives if positive else pool.negatives).append(trajectory)
    return pools, counts


def _quotes(trajectory: Trajectory, config: SelectionConfig, questions: Mapping[str, str] | None) -> bool:
    """Whether a program holds its question word for word, as PAL docstrings do, or need not any more."""
    if trajectory.iteration >= config.quote_question_iterations:
        return True
    if questions is None or trajectory.task_id not in questions:
        raise ValueError(
            f"quote_question_iterations={config.quote_question_iterations} "
            f"needs the question of {trajectory.task_id}; pass it in `questions`"
        )
    return questions[trajectory.task_id] in trajectory.text
