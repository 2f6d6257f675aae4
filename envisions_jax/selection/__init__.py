"""From trajectories to training examples: filter, pool, rank and pair (steps 5–7 of the method; paper
equations 2–6).

Pure functions of stored trajectories. The filter keeps, slot by slot, an exploration or its refinement;
what is kept enters the pool of its task, across iterations, exact duplicates once; of each task's pool the
positives and negatives are ranked by self-reward, and the best become L1 examples (positive) and L2
examples (positive, negative).

    kept = keep(store.trajectories(iteration, tokens=False), config, seed=seed)      # 5. filter
    store.record_kept(iteration, kept)                                               # 6. pool
    selection = select(store.pool(iteration), config, iteration=iteration, seed=seed)  # 7. select

Infrastructure failures never enter a pool. Nothing depends on the order of a dict, a set or a shard: random
choices are hashes of (seed, iteration, candidate), and equal self-rewards rank in the order in which they
were seen.
"""

from envisions_jax.selection.choosing import choose, rank, select, verdict_budget
from envisions_jax.selection.examples import Budget, L1Example, L2Example, Selection
from envisions_jax.selection.filtering import filter_slot, keep
from envisions_jax.selection.pool import TaskPool, build_pools, is_usable
from envisions_jax.selection.rules import SelectionConfig

__all__ = [
    "Budget",
    "L1Example",
    "L2Example",
    "Selection",
    "SelectionConfig",
    "TaskPool",
    "build_pools",
    "choose",
    "filter_slot",
    "is_usable",
    "keep",
    "rank",
    "select",
    "verdict_budget",
]
