"""The control: as many training examples, picked without looking at a verdict (selection.filter = "none")."""

import bisect
import itertools
import random
from collections.abc import Mapping

from envisions_jax.selection.draws import draw
from envisions_jax.selection.examples import Budget, L1Example, L2Example
from envisions_jax.selection.pool import TaskPool
from envisions_jax.store.records import Trajectory


def choose_at_random(
    pools: Mapping[str, TaskPool], budget: Budget, *, iteration: int, seed: int
) -> tuple[list[L1Example], list[L2Example]]:
    """`budget.l1` distinct candidates and `budget.l2` distinct ordered pairs of candidates of one task.

    Both uniform over the pool, without replacement; all there are if the budget is larger. A pair's first
    member stands where the positive would, its second where the negative would; their verdicts are not
    looked at.
    """
    # Sorted by id, so that the order in which the pool holds right and wrong candidates leaves no trace.
    candidates = {
        task_id: sorted(pool.positives + pool.negatives, key=lambda t: (t.iteration, t.k, t.stage))
        for task_id, pool in pools.items()
    }
    everything = [t for group in candidates.values() for t in group]
    shuffled = sorted(everything, key=lambda t: draw(seed, "control L1", iteration, t.id))
    singles = [L1Example(t.task_id, t) for t in shuffled[: budget.l1]]
    generator = random.Random(draw(seed, "control L2", iteration, ""))
    pairs = [
        L2Example(first.task_id, first, second) for first, second in _pairs(candidates, budget.l2, generator)
    ]
    return singles, pairs


def _pairs(
    candidates: Mapping[str, list[Trajectory]], count: int, generator: random.Random
) -> list[tuple[Trajectory, Trajectory]]:
    """`count` distinct ordered pairs of distinct candidates, each from one task, uniform over all such
    pairs."""
    groups = [group for group in candidates.values() if len(group) >= 2]
    # Pairs are numbered through: group g of size s holds s·(s−1) of them from ends[g−1] on. None is listed.
    ends = list(itertools.accumulate(len(group) * (len(group) - 1) for group in groups))
    total = ends[-1] if ends else 0
    numbers = generator.sample(range(total), min(count, total))
    return [_pair(number, groups, ends) for number in numbers]


def _pair(number: int, groups: list[list[Trajectory]], ends: list[int]) -> tuple[Trajectory, Trajectory]:
    """The pair with this number. Group of 3 at 0: 0 → (0,1), 1 → (0,2), 2 → (1,0), 3 → (1,2), 4 → (2,0), 5
    → (2,1)."""
    where = bisect.bisect_right(ends, number)
    group = groups[where]
    first, second = divmod(number - (ends[where - 1] if where else 0), len(group) - 1)
    return group[first], group[second + (second >= first)]
