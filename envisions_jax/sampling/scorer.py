"""Self-reward: log-probabilities of given completions, each prompt computed once for all of its own.

A prompt (without the prefix that all prompts share) and its completions lie side by side in one row;
the attention mask makes a tree of them: each completion sees the prompt and itself. Rows of a fixed
length hold as many such trees as fit. Logits are computed only where a completion token is predicted.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from envisions_jax.models.llama import Llama
from envisions_jax.sampling.cache import Cache, Seen, attend, heads_first
from envisions_jax.sampling.prefill import shared_prefix
from envisions_jax.sampling.shapes import StageShape, common_prefix, rung

if TYPE_CHECKING:
    from envisions_jax.policy import Policy
    from envisions_jax.sampling.sampler import Sampler

SCORED_TOKENS = 1024  # tokens computed in one call
LOGIT_CHUNK = 128  # rows of logits [chunk v] that exist at a time


@dataclasses.dataclass(frozen=True)
class Tree:
    """A prompt without the shared prefix, and the completions it is to be continued with."""

    prompt: Sequence[int]
    completions: Sequence[Sequence[int]]

    @property
    def size(self) -> int:
        return len(self.prompt) + sum(map(len, self.completions))


@dataclasses.dataclass(eq=False)
class Batch:
    """Rows of trees. `b` rows of `t` tokens; `m` places for targets in all.

    The prompt ``[p, q]`` with completions ``[x, y]`` and ``[z]``::

        tokens       p q x y z
        tree         1 1 1 1 1
        branch       0 0 1 1 2      0 is the prompt, which every branch sees
        positions    0 1 2 3 2
        targets at   1 2 1          (q predicts x, x predicts y, q predicts z)
        targets      x y z
    """

    tokens: np.ndarray
    tree: np.ndarray
    branch: np.ndarray
    positions: np.ndarray
    at: list[int]  # flat index into [b·t] of the token that predicts the target
    targets: list[int]


def pack_trees(trees: Sequence[Tree], row_length: int, rows: int) -> list[Batch]:
    """First fit, in the given order; a tree never spans rows.

    Targets come out in the order of the trees, their completions, and their tokens.
    """
    batches: list[Batch] = []
    row, used, batch = rows, 0, None
    for number, tree in enumerate(trees):
        if used + tree.size > row_length or batch is None:
            row, used = row + 1, 0
        if row >= rows or batch is None:
            tokens, numbers, branch, positions = np.zeros((4, rows, row_length), np.int32)
            batch = Batch(tokens, numbers, branch, positions, [], [])
            batches.append(batch)
            row = 0
        _lay_out(batch, row, used, tree, number + 1)
        used += tree.size
    return batches


def _lay_out(batch: Batch, row: int, start: int, tree: Tree, number: int) -> None:
    flat = row * batch.tokens.shape[1]
    root = start + len(tree.prompt) - 1
    branches = [tree.prompt, *tree.completions]
    at = start
    for branch, tokens in enumerate(branches):
        end = at + len(tokens)
        first = 0 if branch == 0 else len(tree.prompt)
        batch.tokens[row, at:end] = tokens
        batch.tree[row, at:end] = number
        batch.branch[row, at:end] = branch
        batch.positions[row, at:end] = np.arange(first, first + len(tokens))
        if branch > 0 and len(tokens):
            batch.at += [flat + root, *range(flat + at, flat + end - 1)]
            batch.targets += list(tokens)
        at = end


class Scorer:
    """Scores under one policy; shares the sampler's cache of prefixes."""

    def __init__(self, policy: Policy, sampler: Sampler) -> None:
        self._policy = policy
        self._sampler = sampler

    def score(
        self, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[np.ndarray]]:
        """Per-token log-probabilities (float32) of every completion under its prompt."""
        if not prompts:
            return []
        prefix = common_prefix(prompts)
        trees = [Tree(p[len(prefix) :], c) for p, c in zip(prompts, completions, strict=True)]
        row_length = rung(max(tree.size for tree in trees))
        row_length = max(row_length, min(256, SCORED_TOKENS))
        shape = StageShape(tuple(prefix), row_length, 0)
        batches = pack_trees(trees, row_length, max(1, SCORED_TOKENS // row_length))
        flat = np.concatenate([self._score_batch(batch, shape) for batch in batches])
        return _split(flat, completions)

    def _score_batch(self, batch: Batch, shape: StageShape) -> np.ndarray:
        room = rung(len(batch.targets))
        at, targets = np.zeros(room, np.int32), np.zeros(room, np.int32)
        at[: len(batch.at)], targets[: len(batch.at)] = batch.at, batch.targets
        log_probs = score_rows(
            self._policy.graphdef,
            self._policy.params,
            self._sampler.prefix_cache(shape),
            jnp.int32(len(shape.prefix)),
            *map(jnp.asarray, (batch.tokens, batch.tree, batch.branch, batch.positions, at, targets)),
        )
        return np.asarray(log_probs)[: len(batch.at)]


def _split(flat: np.ndarray, completions: Sequence[Sequence[Sequence[int]]]) -> list[list[np.ndarray]]:
    scores: list[list[np.ndarray]] = []
    start = 0
    for group in completions:
        scores.append([])
        for tokens in group:
            scores[-1].append(flat[start : start + len(tokens)])
            start += len(tokens)
    return scores


def tree_mask(tree: Int[Array, "b t"], branch: Int[Array, "b t"]) -> Bool[Array, "b t t"]:
    """True where query t may see key s: not later, of the same tree, and of its prompt or its own branch.

    For the worked example of `Batch` (tokens p q x y z)::

        x: [1, 1, 1, 0, 0]
        y: [1, 1, 1, 1, 0]
        z: [1, 1, 0, 0, 1]
    """
    order = jnp.arange(tree.shape[1])
    mask = (order[None, :] <= order[:, None])[None]
    mask &= tree[:, :, None] == tree[:, None, :]
    return mask & ((branch[:, None, :] == 0) | (branch[:, :, None] == branch[:, None, :]))


@functools.partial(jax.jit, static_argnums=0)
def score_rows(
    graphdef: nnx.GraphDef[Llama],
    params: nnx.State,
    prefix: Cache,
    prefix_length: Int[Array, ""],
    tokens: Int[Array, "b t"],
    tree: Int[Array, "b t"],
    branch: Int[Array, "b t"],
    positions: Int[Array, "b t"],
    at: Int[Array, " m"],
    targets: Int[Array, " m"],
) -> Float[Array, " m"]:
    """log π(target) for the tokens that the flat places `at` predict."""
    model = nnx.merge(graphdef, params)
    mask = tree_mask(tree, branch)

    def attention(layer: int, q: Array, k: Array, v: Array, /) -> Array:
        own = Seen(heads_first(k), heads_first(v), mask)
        return attend(q, [shared_prefix(prefix[layer], prefix_length), own])

    hidden = model(tokens, prefix_length + positions, attention)
    hidden = hidden.reshape(-1, hidden.shape[-1])[at]
    return target_log_probs(model, hidden, targets)


def target_log_probs(
    model: Llama, hidden: Float[Array, "m d"], targets: Int[Array, " m"]
) -> Float[Array, " m"]:
    """log softmax of the logits at `targets`; only `LOGIT_CHUNK` rows of logits exist at a time."""
    m = len(targets)
    chunk = min(m, LOGIT_CHUNK)
    pad = -m % chunk

    def one(inputs: tuple[Array, Array]) -> Array:
        rows, wanted = inputs
        logits = model.logits(rows)
        chosen = jnp.take_along_axis(logits, wanted[:, None], axis=-1)[:, 0]
        return chosen - jax.nn.logsumexp(logits, axis=-1)

    chunks = jnp.pad(hidden, ((0, pad), (0, 0))).reshape(-1, chunk, hidden.shape[-1])
    return jax.lax.map(one, (chunks, jnp.pad(targets, (0, pad)).reshape(-1, chunk))).reshape(-1)[:m]
