"""What the paper measures (its analysis section), and what an engineer wants beside it, as pure functions.

A number that is undefined (no tasks, no positives, nothing solved before) is None, never 0 or NaN.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from envisions_jax.store.records import Trajectory


@dataclass(frozen=True)
class LearningCounts:
    """Of one iteration: |S| tasks solved, |H| solved in any earlier iteration, |O| = |S ∩ H|, |N| = |S
    minus H|."""

    solved: int
    earlier: int
    old: int
    new: int


@dataclass(frozen=True)
class RefinementRates:
    """Slots whose exploration and refinement were both judged, and how the verdict changed.

    `repair` is the share of wrong explorations whose refinement is right, `break_` the share of right
    explorations whose refinement is wrong.
    """

    wrong: int
    repaired: int
    right: int
    broken: int

    @property
    def repair(self) -> float | None:
        return _ratio(self.repaired, self.wrong)

    @property
    def break_(self) -> float | None:
        return _ratio(self.broken, self.right)


def accuracy(outcomes: Iterable[str]) -> float | None:
    """Share of outcome kinds that are "correct". Infrastructure failures are left out: they say nothing of
    the model."""
    judged = [outcome for outcome in outcomes if outcome != "infrastructure"]
    return _ratio(judged.count("correct"), len(judged))


def solved_tasks(trajectories: Iterable[Trajectory]) -> set[str]:
    """Ids of the tasks with at least one correct trajectory: S_i, for the trajectories of iteration i."""
    return {trajectory.task_id for trajectory in trajectories if trajectory.correct}


def learning_counts(solved: Sequence[Collection[str]]) -> list[LearningCounts]:
    """For the solved sets S_1 … S_T of consecutive iterations: |S_i|, |H_i|, |O_i|, |N_i|.

    [{a, b}, {b, c, d}]  →  [(2, 0, 0, 2), (3, 2, 1, 2)]
    """
    counts, earlier = [], set[str]()
    for tasks in map(set, solved):
        old = len(tasks & earlier)
        counts.append(LearningCounts(len(tasks), len(earlier), old, len(tasks) - old))
        earlier |= tasks
    return counts


def exploratory_ability(counts: Sequence[LearningCounts]) -> float | None:
    """EA: mean of |N_i| / |S_i| over the iterations from the second on.

    The paper's example, |S_1| = 1000 and |S_2| = 1200 of which 800 old: 400/1200 = 0.333. Iterations in
    which nothing was solved have no ratio and are left out.
    """
    return _mean([_ratio(count.new, count.solved) for count in counts[1:]])


def stability(counts: Sequence[LearningCounts]) -> float | None:
    """STB: mean of |O_i| / |H_i| over the iterations from the second on; 800/1000 = 0.8 in the paper's
    example."""
    return _mean([_ratio(count.old, count.earlier) for count in counts[1:]])


def log_prob_margin(trajectories: Iterable[Trajectory]) -> float | None:
    """Mean self-reward of the correct minus that of the other trajectories (nats per token).

    Empty generations (−inf), unscored trajectories and infrastructure failures are left out.
    """
    rewards: dict[bool, list[float]] = {True: [], False: []}
    for trajectory in trajectories:
        reward = trajectory.self_reward
        if reward is not None and math.isfinite(reward) and trajectory.outcome != "infrastructure":
            rewards[trajectory.correct].append(reward)
    if not rewards[True] or not rewards[False]:
        return None
    return math.fsum(rewards[True]) / len(rewards[True]) - math.fsum(rewards[False]) / len(rewards[False])


def distinct_correct(trajectories: Iterable[Trajectory]) -> int:
    """Number of different correct programs, told apart by task and canonical text."""
    return len({(trajectory.task_id, trajectory.text) for trajectory in trajectories if trajectory.correct})


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Chance that k of the samples, drawn without replacement, hold a correct one (Chen et al. 2021,
    equation 1).

        pass_at_k(samples=5, correct=1, k=1) = 0.2

    Raises ValueError unless 1 ≤ k ≤ samples and 0 ≤ correct ≤ samples.
    """
    if not (1 <= k <= samples and 0 <= correct <= samples):
        raise ValueError(
            f"{samples=}, {correct=}, {k=}: expected 1 <= k <= samples and 0 <= correct <= samples"
        )
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def mean_pass_at_k(trajectories: Iterable[Trajectory], k: int) -> float | None:
    """`pass_at_k` averaged over tasks; tasks with fewer than k judged candidates are left out."""
    judged: Counter[str] = Counter()
    correct: Counter[str] = Counter()
    for trajectory in trajectories:
        judged[trajectory.task_id] += trajectory.outcome != "infrastructure"
        correct[trajectory.task_id] += trajectory.correct
    return _mean([pass_at_k(n, correct[task_id], k) for task_id, n in judged.items() if n >= k])


def refinement_rates(trajectories: Iterable[Trajectory]) -> RefinementRates:
    """Compares each refinement with the exploration of its slot (iteration, task, k); either order."""
    slots: dict[tuple[int, str, int], dict[str, bool]] = {}
    for trajectory in trajectories:
        if trajectory.outcome != "infrastructure":
            slot = slots.setdefault((trajectory.iteration, trajectory.task_id, trajectory.k), {})
            slot[trajectory.stage] = trajectory.correct
    changes = Counter((slot["explore"], slot["refine"]) for slot in slots.values() if len(slot) == 2)
    return RefinementRates(
        wrong=changes[False, False] + changes[False, True],
        repaired=changes[False, True],
        right=changes[True, True] + changes[True, False],
        broken=changes[True, False],
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
