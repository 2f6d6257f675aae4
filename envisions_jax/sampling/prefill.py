"""Keys and values of prompts: of the prefix once a stage, of what a few prompts share once for these.

The rests of prompts are computed packed in rows, as trees of what neighbours have in common
(`envisions_jax.sampling.trees`), then put where they are needed, each prompt in one piece.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct
from jaxtyping import Array, Bool, Float, Int

from envisions_jax.models.attention import Seen, branch_mask, causal_attention, causal_mask, heads_first
from envisions_jax.models.llama import Llama
from envisions_jax.sampling.cache import Cache, LayerCache
from envisions_jax.sampling.shapes import StageShape
from envisions_jax.sampling.trees import grow_trees, pack_trees


@struct.dataclass
class Prefilled:
    """Some prompts computed together: `r` rows of `t` tokens."""

    cache: Cache  # a pair [r g t c] a layer
    hidden: Float[Array, "r t d"]


@struct.dataclass
class PromptPlaces:
    """Where `a` prompts lie in prefilled rows, and where they are wanted."""

    to: Int[Array, " a"]  # row of the cache they are put into; out of range: nowhere
    row: Int[Array, " a"]
    columns: Int[Array, "a t"]  # of the prompt's tokens in that row; the rest is anything
    length: Int[Array, " a"]  # tokens of the prompt, at least 1


class PromptAttention:
    """Attention of prompts behind a shared prefix; keeps every layer's keys and values."""

    def __init__(
        self, prefix: Cache | None, prefix_length: Int[Array, ""], mask: Bool[Array, "b t t"]
    ) -> None:
        self.prefix = prefix
        self.prefix_length = prefix_length
        self.mask = mask
        self.cache: list[LayerCache] = []

    def __call__(
        self,
        layer: int,
        q: Float[Array, "b t h c"],
        k: Float[Array, "b t g c"],
        v: Float[Array, "b t g c"],
        /,
    ) -> Float[Array, "b t h c"]:
        self.cache.append((heads_first(k), heads_first(v)))
        before = () if self.prefix is None else (shared_prefix(self.prefix[layer], self.prefix_length),)
        return causal_attention(q, k, v, mask=self.mask, before=before)


def shared_prefix(cache: LayerCache, length: Int[Array, ""]) -> Seen:
    keys, values = cache
    return Seen(keys, values, (jnp.arange(keys.shape[-2]) < length)[None, None])


@functools.partial(jax.jit, static_argnums=0)
def prefill_prefix(graphdef: nnx.GraphDef[Llama], params: nnx.State, tokens: Int[Array, "1 t"]) -> Cache:
    """The cache ``[g t c]`` of a stage's shared prefix, given with its padding behind."""
    model = nnx.merge(graphdef, params)
    positions = jnp.arange(tokens.shape[1])[None]
    attention = PromptAttention(None, jnp.int32(0), causal_mask(tokens.shape[1]))
    model(tokens, positions, attention)
    return tuple((k[0], v[0]) for k, v in attention.cache)


@functools.partial(jax.jit, static_argnums=0)
def prefill_trees(
    graphdef: nnx.GraphDef[Llama],
    params: nnx.State,
    prefix: Cache,
    prefix_length: Int[Array, ""],
    tokens: Int[Array, "r t"],
    ends: Int[Array, "r t"],
    positions: Int[Array, "r t"],
) -> Prefilled:
    """Prompts without their shared prefix, laid out as `trees.TreeBatch` has it."""
    model = nnx.merge(graphdef, params)
    attention = PromptAttention(prefix, prefix_length, branch_mask(ends))
    hidden = model(tokens, prefix_length + positions, attention)
    return Prefilled(tuple(attention.cache), hidden)


def put_prompts(
    model: Llama, cache: Cache, prefilled: Prefilled, places: PromptPlaces
) -> tuple[Cache, Float[Array, "a v"]]:
    """`cache`, a pair ``[b g t c]`` a layer, with prompts put into it; and the logits after each of them."""
    row, column = places.row[:, None], places.columns
    heads = jnp.arange(cache[0][0].shape[1])[:, None]

    def put(old: Array, new: Array) -> Array:
        gathered = new[row[..., None], heads, column[:, None]]  # [a g t c]
        return old.at[places.to].set(gathered, mode="drop")

    cache = tuple(
        (put(keys, new_keys), put(values, new_values))
        for (keys, values), (new_keys, new_values) in zip(cache, prefilled.cache, strict=True)
    )
    last = jnp.take_along_axis(column, places.length[:, None] - 1, axis=1)
    return cache, model.logits(prefilled.hidden[row, last][:, 0])


def prefill_prompts(
    graphdef: nnx.GraphDef[Llama],
    params: nnx.State,
    prefix: Cache,
    prefix_length: Int[Array, ""],
    prompts: Sequence[Sequence[int]],
    shape: StageShape,
) -> Iterator[tuple[Prefilled, list[tuple[int, list[int]]]]]:
    """Computes prompts (without the prefix), some rows at a time.

    Yields, with each batch, the numbers of the prompts in it and their places in its flattened rows.
    """
    trees = grow_trees(prompts, most=shape.row_length)
    firsts = list(itertools.accumulate((len(tree.branches) for tree in trees), initial=0))
    for batch in pack_trees(trees, shape.row_length, shape.prefill_rows):
        arrays = map(jnp.asarray, (batch.tokens, batch.ends, batch.positions))
        prefilled = prefill_trees(graphdef, params, prefix, prefix_length, *arrays)
        yield prefilled, [(firsts[branch.tree] + branch.number, branch.places) for branch in batch.branches]


def prompt_places(
    wanted: Sequence[tuple[int, Sequence[int]]], shape: StageShape, size: int, room: int
) -> PromptPlaces:
    """For `wanted` pairs (row of the cache, places in the flattened prefilled rows).

    Args:
      size: rows of the cache; `room`: how many prompts the program takes, of which not all may be used.
    """
    to, row = np.full(room, size, np.int32), np.zeros(room, np.int32)
    columns, length = np.zeros((room, shape.prompt_length), np.int32), np.ones(room, np.int32)
    for number, (slot, places) in enumerate(wanted):
        to[number], row[number], length[number] = slot, places[0] // shape.row_length, len(places)
        columns[number, : len(places)] = np.asarray(places) % shape.row_length
    return PromptPlaces(*map(jnp.asarray, (to, row, columns, length)))


def pad_tokens(rows: list[list[int]], shape: tuple[int, int]) -> np.ndarray:
    """int32 ``[b t]`` with the rows' tokens and zeros behind and below them."""
    tokens = np.zeros(shape, np.int32)
    for row, values in zip(tokens, rows, strict=False):
        row[: len(values)] = values
    return tokens
