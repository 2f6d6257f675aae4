"""Keys and values of prompts: of the prefix once a stage, of what a few prompts share once for these.

The rests of prompts are computed packed in rows, as trees of what neighbours have in common
(`envisions_jax.sampling.trees`), then put where they are needed.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from envisions_jax.models.attention import Seen, branch_mask, causal_attention, causal_mask, readable
from envisions_jax.models.llama import Llama
from envisions_jax.parallel.kernels import AttentionKernel, attention_kernel
from envisions_jax.parallel.layout import Layout, in_lanes, shares_layers
from envisions_jax.sampling.cache import READABLE, Cache, CacheForm
from envisions_jax.sampling.shapes import StageShape
from envisions_jax.sampling.trees import TreeBatch, grow_trees, pack_trees


@struct.dataclass
class Prefilled:
    """Some prompts computed together: `r` rows of `t` tokens."""

    cache: tuple[
        tuple[Float[Array, "r t g c"], Float[Array, "r t g c"]], ...
    ]  # keys and values of each layer
    logits: Float[Array, "p v"]  # after each prompt


@struct.dataclass
class Places:
    """Where `a` pieces of prompts lie in prefilled rows, and where they are wanted."""

    to: Int[Array, " a"]  # row of the cache they are put into, those in use first; out of range: not in use
    row: Int[Array, " a"]
    columns: Int[Array, "a t"]  # of the piece's tokens in that row; the rest is anything


class HostPlaces(NamedTuple):
    """The fields of `Places`, on the host."""

    to: np.ndarray
    row: np.ndarray
    columns: np.ndarray


class Laid(NamedTuple):
    """Where a prompt lies in prefilled rows."""

    prompt: int  # its number
    tree: int  # of its tree: those of one tree are neighbours in a batch
    shared: int  # how many of its tokens the whole tree begins with
    places: list[int]  # of its tokens in the flattened rows
    after: int  # which of the logits are those after it


class PromptAttention:
    """Attention of prompts behind a shared prefix; keeps every layer's keys and values."""

    def __init__(
        self,
        prefix: Cache,
        prefix_length: Int[Array, ""],
        mask: Bool[Array, "b t t"],
        kernel: AttentionKernel | None = None,
    ) -> None:
        self.prefix = prefix
        self.prefix_length = prefix_length
        self.mask = mask
        self.kernel = kernel
        self.cache: list[tuple[Array, Array]] = []  # as the layers gave them

    @classmethod
    def of_rows(
        cls,
        model: Llama,
        layout: Layout | None,
        prefix: Cache,
        prefix_length: Int[Array, ""],
        ends: Int[Array, "b t"],
    ) -> PromptAttention:
        """In packed rows of one lane, by its devices' own kernel where they have one."""
        kernel = attention_kernel(layout, model.dtype, ends.shape[1], model.config.head_dim)
        return cls(prefix, prefix_length, branch_mask(ends), kernel)

    def __call__(
        self,
        layer: int,
        q: Float[Array, "b t h c"],
        k: Float[Array, "b t g c"],
        v: Float[Array, "b t g c"],
        /,
    ) -> Float[Array, "b t h c"]:
        self.cache.append((k, v))
        before = seen_of_prefix(self.prefix, layer, self.prefix_length)
        if self.kernel is None:
            return causal_attention(q, k, v, mask=self.mask, before=before)
        mask = self.mask
        for place in before:  # in front of every row: a kernel attends to one place
            k, v = (
                jnp.concatenate([jnp.broadcast_to(shared, (len(q), *shared.shape)), own], axis=1)
                for shared, own in ((jnp.moveaxis(place.keys, -1, 0), k), (place.values.swapaxes(0, 1), v))
            )
            seen = jnp.broadcast_to(place.mask, (*mask.shape[:2], place.mask.shape[-1]))
            mask = jnp.concatenate([seen, mask], axis=2)
        return self.kernel(q, k, v, mask)


def seen_of_prefix(prefix: Cache, layer: int, length: Int[Array, ""]) -> list[Seen]:
    """The place that all tokens of a stage see; none where nothing is a prefix, and its cache is empty."""
    if not prefix:
        return []
    keys, values = prefix[layer]
    return [Seen(keys, values, (jnp.arange(keys.shape[-1]) < length)[None, None])]


@functools.partial(jax.jit, static_argnums=0)
def prefill_prefix(graphdef: nnx.GraphDef[Llama], params: nnx.State, tokens: Int[Array, "1 t"]) -> Cache:
    """The cache, without rows, of a stage's shared prefix, given with its padding behind."""
    model = nnx.merge(graphdef, params)
    positions = jnp.arange(tokens.shape[1])[None]
    attention = PromptAttention((), jnp.int32(0), causal_mask(tokens.shape[1]))
    model(tokens, positions, attention)
    return tuple((keys[0], values[0]) for keys, values in itertools.starmap(readable, attention.cache))


@functools.partial(jax.jit, static_argnums=(0, 1))
def prefill_trees(
    graphdef: nnx.GraphDef[Llama],
    layout: Layout | None,
    params: nnx.State,
    prefix: Cache,
    prefix_length: Int[Array, ""],
    tokens: Int[Array, "r t"],
    ends: Int[Array, "r t"],
    positions: Int[Array, "r t"],
    last: Int[Array, " p"],
) -> Prefilled:
    """Prompts without their shared prefix, laid out as `trees.TreeBatch` has it, one batch for each lane.

    last: places of the prompts' last tokens in the lane's flattened rows.
    """

    def in_lane(
        params: nnx.State,
        prefix: Cache,
        prefix_length: Array,
        tokens: Array,
        ends: Array,
        positions: Array,
        last: Array,
    ) -> Prefilled:
        model = nnx.merge(graphdef, params)
        attention = PromptAttention.of_rows(model, layout, prefix, prefix_length, ends)
        hidden = model(tokens, prefix_length + positions, attention)
        # Here and not when candidates enter: these come some at a time and more often, and for a few the
        # product with the head, which reads all of it, takes nearly as long as for many.
        logits = model.logits(hidden.reshape(-1, hidden.shape[-1])[last])
        if shares_layers(layout):  # each device would have a part of the vocabulary
            logits = jax.lax.with_sharding_constraint(logits, PartitionSpec(None, None))
        return Prefilled(tuple(attention.cache), logits)

    return in_lanes(layout, in_lane, shared=3)(params, prefix, prefix_length, tokens, ends, positions, last)


def put(cache: Cache, prefilled: Prefilled, places: Places, form: CacheForm = READABLE) -> Cache:
    """`cache` with pieces of prompts put into it, from its first column on.

    One after the other, in as little memory as one takes: all at once, turned as `form` has them, eight
    pieces of 1,536 tokens are 0.6 GB of SmolLM2's keys and values, whether they are used or not.
    """
    if not places.columns.shape[1]:
        return cache

    def put_one(number: Array, cache: Cache) -> Cache:
        row, columns = places.row[number], places.columns[number]
        return tuple(
            form.put(old, places.to[number], *(of_rows[row, columns] for of_rows in new))
            for old, new in zip(cache, prefilled.cache, strict=True)
        )

    # As many rounds as a lane needs, also where devices share the inside of layers (see `in_step`): the body
    # moves whole heads, which need nothing of another device.
    used = (places.to < len(cache[0][0])).sum()  # the first ones
    return jax.lax.fori_loop(0, used, put_one, cache)


def prefill_prompts(
    graphdef: nnx.GraphDef[Llama],
    layout: Layout | None,
    params: nnx.State,
    prefix: Cache,
    prefix_length: Int[Array, ""],
    prompts: Sequence[Sequence[int]],
    shape: StageShape,
) -> Iterator[tuple[Prefilled, list[list[Laid]]]]:
    """Computes prompts (without the prefix), some rows at a time in each lane.

    Yields each batch, and for each lane what lies where.
    """
    lanes = 1 if layout is None else layout.lanes
    batches = list(_packed(prompts, shape))
    for start in range(0, len(batches), lanes):
        parts = batches[start : start + lanes]
        rows = _side_by_side([part for part, _ in parts], lanes, shape)
        prefilled = prefill_trees(graphdef, layout, params, prefix, prefix_length, *rows)
        yield prefilled, [laid for _, laid in parts] + [[] for _ in range(lanes - len(parts))]


def prefill_lanes(
    graphdef: nnx.GraphDef[Llama],
    layout: Layout | None,
    params: nnx.State,
    prefix: Cache,
    prefix_length: Int[Array, ""],
    prompts: Sequence[Sequence[Sequence[int]]],
    shape: StageShape,
) -> Iterator[tuple[Prefilled, list[list[Laid]]]]:
    """As `prefill_prompts`, given which prompts each lane computes; their numbers are those within it."""
    batches = [list(_packed(own, shape)) for own in prompts]
    for number in range(max(map(len, batches))):
        parts = [own[number] if number < len(own) else None for own in batches]
        rows = _side_by_side([part and part[0] for part in parts], len(prompts), shape)
        prefilled = prefill_trees(graphdef, layout, params, prefix, prefix_length, *rows)
        yield prefilled, [part[1] if part else [] for part in parts]


def _packed(prompts: Sequence[Sequence[int]], shape: StageShape) -> Iterator[tuple[TreeBatch, list[Laid]]]:
    """Prompts in rows, some rows at a time, and what lies where."""
    trees = grow_trees(prompts, shape.row_length, shape.row_prompts)
    firsts = list(itertools.accumulate((len(tree.branches) for tree in trees), initial=0))
    for batch in pack_trees(trees, shape.row_length, shape.prefill_rows, shape.row_prompts):
        yield (
            batch,
            [
                Laid(firsts[branch.tree] + branch.number, branch.tree, len(branch.root), branch.places, after)
                for after, branch in enumerate(batch.branches)
            ],
        )


def _side_by_side(
    batches: Sequence[TreeBatch | None], lanes: int, shape: StageShape
) -> tuple[jax.Array, ...]:
    """Tokens, ends, positions and last places of one batch for each lane; nothing where there is none."""
    rows = np.zeros((3, lanes, shape.prefill_rows, shape.row_length), np.int32)
    last = np.zeros((lanes, shape.prefill_rows * shape.row_prompts), np.int32)
    for lane, batch in enumerate(batches):
        if batch is not None:
            rows[:, lane, : len(batch.tokens)] = batch.tokens, batch.ends, batch.positions
            last[lane, : len(batch.branches)] = [branch.own[-1] for branch in batch.branches]
    side_by_side = rows.reshape(3, lanes * shape.prefill_rows, shape.row_length)
    return jax.device_put((*side_by_side, last.reshape(-1)))


def places_of(
    wanted: Sequence[tuple[int, Sequence[int]]], shape: StageShape, *, size: int, room: int, length: int
) -> HostPlaces:
    """For `wanted` pairs (row of the cache, places in the flattened prefilled rows).

    Args:
      size: rows of the cache.
      room: how many pieces the program takes; those that are not in use come last. `length`: their tokens.
    """
    to, row = np.full(room, size, np.int32), np.zeros(room, np.int32)
    columns = np.zeros((room, length), np.int32)
    for number, (target, places) in enumerate(wanted):
        to[number] = target
        if len(places):
            row[number] = places[0] // shape.row_length
            columns[number, : len(places)] = np.asarray(places) % shape.row_length
    return HostPlaces(to, row, columns)


def pad_tokens(rows: list[list[int]], shape: tuple[int, int]) -> np.ndarray:
    """int32 ``[b t]`` with the rows' tokens and zeros behind and below them."""
    tokens = np.zeros(shape, np.int32)
    for row, values in zip(tokens, rows, strict=False):
        row[: len(values)] = values
    return tokens
