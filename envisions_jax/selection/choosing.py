"""Ranking and choosing (step 7, equations 3 and 5): the training set of an iteration."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from envisions_jax.selection.control import choose_at_random
from envisions_jax.selection.draws import draw, reward_of
from envisions_jax.selection.examples import Budget, L1Example, L2Example, Selection
from envisions_jax.selection.filtering import keep
from envisions_jax.selection.pool import TaskPool, build_pools
from envisions_jax.selection.rules import SelectionConfig
from envisions_jax.store.records import Trajectory


def rank(
    candidates: Sequence[Trajectory], config: SelectionConfig, *, iteration: int, seed: int
) -> list[Trajectory]:
    """Candidates, best first: by self-reward (equal ones as given), or in a random order drawn for this
    iteration."""
    if config.rank == "random":
        return sorted(candidates, key=lambda t: draw(seed, "rank", iteration, t.id))
    return sorted(candidates, key=reward_of, reverse=True)


def choose(
    positives: Sequence[Trajectory], negatives: Sequence[Trajectory], config: SelectionConfig
) -> tuple[list[Trajectory], list[tuple[Trajectory, Trajectory]]]:
    """From one task's ranked candidates: L1 positives and L2 (positive, negative) pairs (equations 3 and 5).

    With n positives, m negatives, N1 = 10 and N2 = 2:

        n = 3, m = 2   paper: L1 = p1 p2 p3, L2 = (p1,n1) (p2,n2)   hold back: L1 = p1 p2, L2 = (p3,n1)
        n = 1, m = 5   paper: L1 = p1,       L2 = (p1,n1)           hold back: L1 = p1,    L2 = none
    """
    if not config.hold_back:
        first, offset = min(config.n1, len(positives)), 0
    else:
        first = offset = min(config.n1, max(1, len(positives) - 1))
    pairs = min(config.n2, max(0, len(positives) - offset), len(negatives)) if config.l2 else 0
    return list(positives[:first]), [(positives[offset + j], negatives[j]) for j in range(pairs)]


def select(
    kept: Iterable[Trajectory],
    config: SelectionConfig,
    *,
    iteration: int,
    seed: int,
    questions: Mapping[str, str] | None = None,
    budget: Budget | None = None,
) -> Selection:
    """The training set of `iteration` from what the filter kept in iterations 0..iteration
    (`TrajectoryStore.pool`).

    The control (filter="none") takes `budget` candidates and pairs at random from the same pool, whatever
    their verdict; without a budget it takes as many as the verdicts would have given on this pool (only the
    counts are used; `verdict_budget` counts on the unfiltered trajectories instead). Fewer, if the pool has
    not so many.
    """
    pools, counts = build_pools(kept, config, iteration=iteration, questions=questions)
    if config.filter == "none":
        l1, l2 = choose_at_random(pools, budget or _count(pools, config), iteration=iteration, seed=seed)
    else:
        l1, l2 = _choose_by_verdict(pools, config, iteration, seed)
    return Selection(
        iteration=iteration,
        l1=tuple(l1),
        l2=tuple(l2),
        positives=sum(len(pool.positives) for pool in pools.values()),
        negatives=sum(len(pool.negatives) for pool in pools.values()),
        **counts,
    )


def verdict_budget(
    trajectories: Iterable[Trajectory],
    config: SelectionConfig,
    *,
    iteration: int,
    questions: Mapping[str, str] | None = None,
) -> Budget:
    """How many examples the verdict-based filter and selection would give on `trajectories` of iterations
    0..iteration (explorations and refinements): the control's budget. Of the verdicts only these two counts
    are used.
    """
    by_verdict = replace(config, filter="environment")
    pools, _ = build_pools(
        keep(trajectories, by_verdict, seed=0), by_verdict, iteration=iteration, questions=questions
    )
    return _count(pools, by_verdict)


def _choose_by_verdict(
    pools: Mapping[str, TaskPool], config: SelectionConfig, iteration: int, seed: int
) -> tuple[list[L1Example], list[L2Example]]:
    singles: list[L1Example] = []
    doubles: list[L2Example] = []
    for task_id, pool in pools.items():
        positives = rank(pool.positives, config, iteration=iteration, seed=seed)
        negatives = rank(pool.negatives, config, iteration=iteration, seed=seed)
        chosen, pairs = choose(positives, negatives, config)
        singles += [L1Example(task_id, positive) for positive in chosen]
        doubles += [L2Example(task_id, positive, negative) for positive, negative in pairs]
    return singles, doubles


def _count(pools: Mapping[str, TaskPool], config: SelectionConfig) -> Budget:
    chosen = [choose(pool.positives, pool.negatives, config) for pool in pools.values()]
    return Budget(l1=sum(len(single) for single, _ in chosen), l2=sum(len(pairs) for _, pairs in chosen))
