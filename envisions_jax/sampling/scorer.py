"""Self-reward: log-probabilities of given completions, each prompt computed once for all of its own.

A prompt (without the prefix that all prompts share) and its completions are a tree, see
`envisions_jax.sampling.trees`. Logits are computed only where a completion token is predicted.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from envisions_jax.models.llama import Llama
from envisions_jax.parallel.layout import Layout, in_lanes, in_step
from envisions_jax.sampling.cache import Cache
from envisions_jax.sampling.prefill import PromptAttention
from envisions_jax.sampling.shapes import best_row_length, shared_prefix
from envisions_jax.sampling.trees import Branch, Tree, TreeBatch, pack_rows, pack_trees

if TYPE_CHECKING:
    from envisions_jax.policy import Policy
    from envisions_jax.sampling.sampler import Sampler

SCORED_TOKENS = 1024  # tokens computed in one call
LOGIT_CHUNK = 128  # rows of logits [chunk v] that exist at a time


class Scorer:
    """Scores under one policy; shares the sampler's cache of prefixes."""

    def __init__(self, policy: Policy, sampler: Sampler) -> None:
        self._policy = policy
        self._sampler = sampler

    def score(
        self,
        prompts: Sequence[Sequence[int]],
        completions: Sequence[Sequence[Sequence[int]]],
        row_length: int = 0,
    ) -> list[list[np.ndarray]]:
        """Per-token log-probabilities (float32) of every completion under its prompt.

        Args:
          row_length: of the rows that are computed, from `plan_rows`; 0, or too short: what costs the least.
        """
        if not prompts:
            return []
        prefix = shared_prefix(prompts)
        own = [prompt[len(prefix) :] for prompt in prompts]
        found: list[dict[tuple[int, ...], np.ndarray]] = [{} for _ in prompts]
        asked = [
            (number, tree)
            for number, group in enumerate(completions)
            for tree in _trees(own[number], group, row_length or SCORED_TOKENS)
        ]
        trees = [tree for _, tree in asked]
        largest = max((tree.size for tree in trees), default=0)
        if not row_length or largest > row_length:
            row_length = best_row_length(lambda length: len(pack_rows(trees, length)), largest)
        batches = pack_trees(trees, row_length, max(1, SCORED_TOKENS // row_length))
        lanes = self._policy.lanes
        for start in range(0, len(batches), lanes):
            for branch, log_probs in self._score_batches(batches[start : start + lanes], prefix):
                number, tree = asked[branch.tree]
                found[number][tuple(tree.branches[branch.number])] = log_probs
        return [
            [scored[tuple(tokens)] for tokens in group]
            for scored, group in zip(found, completions, strict=True)
        ]

    def _score_batches(
        self, batches: Sequence[TreeBatch], prefix: tuple[int, ...]
    ) -> Iterator[tuple[Branch, np.ndarray]]:
        """Of each branch of at most one batch for each lane the log-probs of its own tokens."""
        policy = self._policy
        wanted = [_wanted(batch) for batch in batches]
        nothing = tuple(map(np.zeros_like, wanted[0]))  # for lanes that are left without a batch
        wanted += [nothing] * (policy.lanes - len(batches))
        together = map(np.concatenate, zip(*wanted, strict=True))
        log_probs = score_rows(
            policy.graphdef,
            policy.layout,
            policy.sampled_with,
            self._sampler.prefix_cache(prefix),
            *jax.device_put((np.int32(len(prefix)), *together)),
        )
        for batch, flat in zip(batches, np.split(np.asarray(log_probs), policy.lanes), strict=False):
            ends = itertools.accumulate((len(branch.own) for branch in batch.branches), initial=0)
            for branch, (start, end) in zip(batch.branches, itertools.pairwise(ends), strict=True):
                yield branch, flat[start:end]


def _wanted(batch: TreeBatch) -> tuple[np.ndarray, ...]:
    """Tokens, ends, positions, at, targets and count, as `score_rows` takes them.

    Each token of a branch is predicted at the place before it.
    """
    predicting = [place for branch in batch.branches for place in branch.places[-len(branch.own) - 1 : -1]]
    predicted = [place for branch in batch.branches for place in branch.own]
    at, targets = np.zeros((2, batch.tokens.size), np.int32)
    at[: len(predicting)], targets[: len(predicted)] = predicting, batch.tokens.reshape(-1)[predicted]
    count = np.array([len(predicted)], np.int32)
    return batch.tokens, batch.ends, batch.positions, at, targets, count


def plan_rows(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[Sequence[int]]],
    most: int,
    kept: int = 0,
) -> int:
    """The length of rows for scoring completions like these, of up to `most` tokens; `kept` as in `plan`."""
    prefix = len(shared_prefix(prompts))
    own = [prompt[prefix:] for prompt in prompts]

    def rows(length: int) -> int:
        asked = zip(own, completions, strict=True)
        return len(
            pack_rows([tree for prompt, group in asked for tree in _trees(prompt, group, length)], length)
        )

    longest = [max([most, *map(len, group)]) for group in completions]
    return best_row_length(rows, max(map(sum, zip(map(len, own), longest, strict=True))), kept)


def _trees(prompt: Sequence[int], completions: Sequence[Sequence[int]], most: int) -> Iterator[Tree]:
    """A prompt with its completions, equal ones once; in several trees where one would have over `most`
    tokens.
    """
    group: list[tuple[int, ...]] = []
    size = len(prompt)
    for completion in dict.fromkeys(map(tuple, completions)):
        if group and size + len(completion) > most:
            yield Tree(prompt, group)
            group, size = [], len(prompt)
        group.append(completion)
        size += len(completion)
    if group:
        yield Tree(prompt, group)


@functools.partial(jax.jit, static_argnums=(0, 1))
def score_rows(
    graphdef: nnx.GraphDef[Llama],
    layout: Layout | None,
    params: nnx.State,
    prefix: Cache,
    prefix_length: Int[Array, ""],
    tokens: Int[Array, "b t"],
    ends: Int[Array, "b t"],
    positions: Int[Array, "b t"],
    at: Int[Array, " m"],
    targets: Int[Array, " m"],
    count: Int[Array, " lanes"],
) -> Float[Array, " m"]:
    """log π(target) for the tokens that the flat places `at` predict; the first `count` are wanted.

    In every lane of the layout by itself: what follows `prefix_length` lies side by side for all of them.
    """

    def in_lane(
        params: nnx.State,
        prefix: Cache,
        prefix_length: Array,
        tokens: Array,
        ends: Array,
        positions: Array,
        at: Array,
        targets: Array,
        count: Array,
    ) -> Array:
        model = nnx.merge(graphdef, params)
        attention = PromptAttention.of_rows(model, layout, prefix, prefix_length, ends)
        hidden = model(tokens, prefix_length + positions, attention)
        hidden = hidden.reshape(-1, hidden.shape[-1])[at]
        return target_log_probs(model, hidden, targets, in_step(layout, count[0]))

    rows = (tokens, ends, positions, at, targets, count)
    return in_lanes(layout, in_lane, shared=3)(params, prefix, prefix_length, *rows)


def target_log_probs(
    model: Llama, hidden: Float[Array, "m d"], targets: Int[Array, " m"], count: Int[Array, ""]
) -> Float[Array, " m"]:
    """log softmax of the logits at the first `count` targets; the others are anything.

    Only `LOGIT_CHUNK` rows of logits exist at a time. How many chunks are visited is data, not shape: one
    program serves any number of targets.
    """
    m = len(targets)
    chunk = min(m, LOGIT_CHUNK)
    hidden, targets = jnp.pad(hidden, ((0, -m % chunk), (0, 0))), jnp.pad(targets, (0, -m % chunk))

    def visit(i: Array, found: Array) -> Array:
        rows, wanted = (jax.lax.dynamic_slice_in_dim(x, i * chunk, chunk) for x in (hidden, targets))
        logits = model.logits(rows)
        chosen = jnp.take_along_axis(logits, wanted[:, None], axis=-1)[:, 0]
        return jax.lax.dynamic_update_slice_in_dim(
            found, chosen - jax.nn.logsumexp(logits, axis=-1), i * chunk, axis=0
        )

    nothing = jnp.zeros(len(targets), jnp.float32)
    return jax.lax.fori_loop(0, (count + chunk - 1) // chunk, visit, nothing)[:m]
