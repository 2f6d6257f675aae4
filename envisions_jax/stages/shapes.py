"""Shapes that hold for a run: an iteration computes in those of the one before wherever they serve.

What was settled is in the store, so that a run that goes on has the shapes, and with them the bits, of one
that was never interrupted. Settling again what was settled changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from envisions_jax.policy import Policy
from envisions_jax.sampling.shapes import StageShape
from envisions_jax.stages.run import Run
from envisions_jax.store import Trajectory
from envisions_jax.store.records import Stage


def settle_shape(
    run: Run, iteration: int, stage: Stage, policy: Policy, prompts: Sequence[str], k: int
) -> StageShape:
    """How `stage` of `iteration` samples `k` candidates from each of `prompts`."""
    key = f"{stage}, {run.shots(iteration) if stage == 'explore' else 0} shots"
    kept = run.store.settled(key)
    shape = policy.plan_stage(
        prompts,
        run.config.sampler.max_new_tokens,
        k,
        None if kept is None else StageShape(prefix=(), **kept),
    )
    settled = dataclasses.asdict(shape)
    del settled["prefix"]  # is of the prompts
    run.store.settle(key, settled)
    return shape


def settle_score_rows(run: Run, policy: Policy, asked: Iterable[tuple[str, Trajectory | None]]) -> int:
    """How long the rows are in which refinements are scored: what serves the attempts with their prompts."""
    completions: dict[str, list[str]] = {}
    for prompt, attempt in asked:
        completions.setdefault(prompt, []).append(attempt.completion if attempt else "")
    length = policy.plan_scoring(
        list(completions),
        list(completions.values()),
        run.config.sampler.max_new_tokens,
        kept=run.store.settled("score rows") or 0,
    )
    run.store.settle("score rows", length)
    return length
