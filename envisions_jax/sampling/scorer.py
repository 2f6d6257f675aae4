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

from envisions_jax.models.attention import branch_mask
from envisions_jax.models.llama import Llama
from envisions_jax.sampling.cache import Cache
from envisions_jax.sampling.prefill import PromptAttention
from envisions_jax.sampling.shapes import best_row_length, shared_prefix
from envisions_jax.sampling.trees import Tree, TreeBatch, pack_trees

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
            row_length = best_row_length(lambda _: trees, largest)
        for batch in pack_trees(trees, row_length, max(1, SCORED_TOKENS // row_length)):
            for branch, log_probs in zip(batch.branches, self._score_batch(batch, prefix), strict=True):
                number, tree = asked[branch.tree]
                found[number][tuple(tree.branches[branch.number])] = log_probs
        return [
            [scored[tuple(tokens)] for tokens in group]
            for scored, group in zip(found, completions, strict=True)
        ]

    def _score_batch(self, batch: TreeBatch, prefix: tuple[int, ...]) -> list[np.ndarray]:
        """Of each branch the log-probs of its own tokens, each predicted at the place before it."""
        lengths = [len(branch.own) for branch in batch.branches]
        places = [branch.places for branch in batch.branches]
        predicting = [place for path, n in zip(places, lengths, strict=True) for place in path[-n - 1 : -1]]
        predicted = [place for branch in batch.branches for place in branch.own]
        at, targets = np.zeros((2, batch.tokens.size), np.int32)
        at[: len(predicting)], targets[: len(predicted)] = predicting, batch.tokens.reshape(-1)[predicted]
        log_probs = score_rows(
            self._policy.graphdef,
            self._policy.params,
            self._sampler.prefix_cache(prefix),
            *jax.device_put(
                (
                    np.int32(len(prefix)),
                    *(batch.tokens, batch.ends, batch.positions, at, targets),
                    np.int32(len(predicted)),
                )
            ),
        )
        ends = np.cumsum([0, *lengths])
        flat = np.asarray(log_probs)
        return [flat[start:end] for start, end in itertools.pairwise(ends)]


def plan_rows(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[Sequence[int]]],
    most: int,
    kept: int = 0,
) -> int:
    """The length of rows for scoring completions like these, of up to `most` tokens; `kept` as in `plan`."""
    prefix = len(shared_prefix(prompts))
    own = [prompt[prefix:] for prompt in prompts]

    def trees(length: int) -> list[Tree]:
        asked = zip(own, completions, strict=True)
        return [tree for prompt, group in asked for tree in _trees(prompt, group, length)]

    longest = [max([most, *map(len, group)]) for group in completions]
    return best_row_length(trees, max(map(sum, zip(map(len, own), longest, strict=True))), kept)


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


@functools.partial(jax.jit, static_argnums=0)
def score_rows(
    graphdef: nnx.GraphDef[Llama],
    params: nnx.State,
    prefix: Cache,
    prefix_length: Int[Array, ""],
    tokens: Int[Array, "b t"],
    ends: Int[Array, "b t"],
    positions: Int[Array, "b t"],
    at: Int[Array, " m"],
    targets: Int[Array, " m"],
    count: Int[Array, ""],
) -> Float[Array, " m"]:
    """log π(target) for the tokens that the flat places `at` predict; the first `count` are wanted."""
    model = nnx.merge(graphdef, params)
    attention = PromptAttention(prefix, prefix_length, branch_mask(ends))
    hidden = model(tokens, prefix_length + positions, attention)
    hidden = hidden.reshape(-1, hidden.shape[-1])[at]
    return target_log_probs(model, hidden, targets, count)


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
