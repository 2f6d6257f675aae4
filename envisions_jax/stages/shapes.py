"""Shapes that hold for a run: an iteration computes in those of the one before wherever they serve.

What was settled is in the store, so that a run that goes on has the shapes, and with them the bits, of one
that was never interrupted. Settling again what was settled changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from envisions_jax import hosts
from envisions_jax.policy import Policy
from envisions_jax.sampling.shapes import StageShape
from envisions_jax.stages.run import Run
from envisions_jax.store.records import Stage
from envisions_jax.training import Example, Trainer


def settle_shape(
    run: Run, iteration: int, stage: Stage, policy: Policy, prompts: Sequence[str], k: int
) -> StageShape:
    """How `stage` of `iteration` samples `k` candidates from each of `prompts`."""
    key = f"{stage}, {run.shots(iteration) if stage == 'explore' else 0} shots"
    kept = _restored(run.store.settled(key))
    shape = policy.plan_stage(prompts, run.config.sampler.max_new_tokens, k, kept)
    settled = dataclasses.asdict(shape)
    del settled["prefix"]  # is of the prompts
    run.store.settle(key, settled)
    return shape


def _restored(settled: Any) -> StageShape | None:
    """The shape in the store, without its prefix; none where another version described shapes otherwise."""
    names = {field.name for field in dataclasses.fields(StageShape)} - {"prefix"}
    is_shape = isinstance(settled, dict) and settled.keys() == names
    return StageShape(prefix=(), **settled) if is_shape else None


def settle_train_rows(run: Run, trainer: Trainer, iteration: int, examples: Sequence[Example]) -> int:
    """How long the rows are that `iteration` packs `examples` into; what has begun keeps its own."""
    kept = run.store.settled("train rows")
    has_begun = hosts.on_first(lambda: run.workdir.training(iteration).exists())
    if has_begun and isinstance(kept, int):  # perhaps on another platform, or by another version
        return kept
    length = trainer.plan_rows(examples, kept if isinstance(kept, int) else None)
    run.store.settle("train rows", length)
    return length


def settle_score_rows(run: Run, policy: Policy, asked: Iterable[tuple[str, str]]) -> int:
    """How long the rows are in which refinements are scored: what serves the attempts, given after prompts.

    An attempt that is read again may be more tokens than were sampled (each byte that is no text is three):
    as many count as a candidate has.
    """
    most = run.config.sampler.max_new_tokens
    completions: dict[str, list[list[int]]] = {}
    for prompt, attempt in asked:
        completions.setdefault(prompt, []).append(run.tokenizer.encode_completion(attempt)[:most])
    kept = run.store.settled("score rows")
    length = policy.plan_scoring(
        list(completions), list(completions.values()), most, kept=kept if isinstance(kept, int) else 0
    )
    run.store.settle("score rows", length)
    return length
