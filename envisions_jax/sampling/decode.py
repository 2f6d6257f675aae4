"""The device's side of sampling: slots that decode in step, and how candidates enter them.

A slot holds one candidate: what it has said, and the keys and values of that and of the rest of its prompt.
The root that the K candidates of a prompt have in common, or prompts that begin alike, is held once, and read
as one product for all slots that go on from it. All slots advance by one token a step inside one compiled
loop, which comes back to the host only when enough of them have finished to be refilled.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx, struct
from jax.sharding import PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, UInt32

from envisions_jax.models.attention import Readers, Seen, attend
from envisions_jax.models.config import LlamaConfig
from envisions_jax.models.llama import Llama
from envisions_jax.parallel.layout import Layout, in_lanes, in_step, platform_of, shares_layers
from envisions_jax.sampling.cache import READABLE, Cache, CacheForm, LayerCache, form_of
from envisions_jax.sampling.choose import choose_tokens
from envisions_jax.sampling.prefill import Places, Prefilled, put, seen_of_prefix
from envisions_jax.sampling.shapes import StageShape, moved_slots

Zeros = Callable[[tuple[int, ...], DTypeLike], Array]  # makes an array of this shape and type


@struct.dataclass
class Slots:
    """What changes while slots decode. `b` slots, `n` room for sampled tokens."""

    cache: Cache  # of the prompts' rests, each with the sampled tokens at once behind it
    tokens: Int[Array, "b n"]
    log_probs: Float[Array, "b n"]
    count: Int[Array, " b"]  # tokens sampled so far
    limit: Int[Array, " b"]  # tokens it may sample
    state: Int[Array, " b"]  # of the stop table
    active: Bool[Array, " b"]
    prompt_lengths: Int[Array, " b"]  # without the shared prefix
    rest_lengths: Int[Array, " b"]  # without the root too
    keys: UInt32[Array, "b 2"]  # random stream


@struct.dataclass
class Rule:
    """How tokens are chosen and where a candidate ends; traced, so that a change compiles nothing."""

    temperature: Float[Array, ""]
    top_p: Float[Array, ""]
    next_state: Int[Array, "states v"]  # see `stopping.StopTable`


@struct.dataclass
class Seating:
    """Which slots go on from which of `p` roots, at most `m` slots from each."""

    rows: Int[Array, "p m"]  # slots; any where fewer sit
    seats: Int[Array, " b"]  # where each slot sits in `rows`, flattened; -1: it has no root
    lengths: Int[Array, " p"]


@struct.dataclass
class Arrivals:
    """Candidates about to enter slots; `a` places, of which some may be unused."""

    roots: Places  # those that are not there yet
    rests: Places  # of the prompts
    after: Int[Array, " a"]  # which of the prefilled logits are those after the prompts
    prompt_lengths: Int[Array, " a"]  # as in `Slots`
    rest_lengths: Int[Array, " a"]
    limit: Int[Array, " a"]
    keys: UInt32[Array, "a 2"]


def empty_cache(
    config: LlamaConfig,
    rows: int,
    length: int,
    dtype: jnp.dtype,
    zeros: Zeros = jnp.zeros,
    form: CacheForm = READABLE,
) -> Cache:
    """Keys and values of so many rows with room for `length` tokens."""
    keys, values = form.shapes(rows, length, config.num_kv_heads, config.head_dim)
    return tuple((zeros(keys, dtype), zeros(values, dtype)) for _ in range(config.num_layers))


def nobody(
    config: LlamaConfig,
    dtype: jnp.dtype,
    slots: int,
    shape: StageShape,
    zeros: Zeros = jnp.zeros,
    form: CacheForm = READABLE,
) -> tuple[Cache, Slots]:
    """Roots and slots before the first candidate, each array made by `zeros`."""
    return empty_cache(config, shape.roots(slots), shape.root_length, dtype, zeros, form), Slots(
        cache=empty_cache(config, slots, shape.rest_length + shape.new_length, dtype, zeros, form),
        tokens=zeros((slots, shape.new_length), jnp.int32),
        log_probs=zeros((slots, shape.new_length), jnp.float32),
        count=zeros((slots,), jnp.int32),
        limit=zeros((slots,), jnp.int32),
        state=zeros((slots,), jnp.int32),
        active=zeros((slots,), jnp.bool_),
        prompt_lengths=zeros((slots,), jnp.int32),
        rest_lengths=zeros((slots,), jnp.int32),
        keys=zeros((slots, 2), jnp.uint32),
    )


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def compiled_nobody(
    config: LlamaConfig, dtype: jnp.dtype, slots: int, shape: StageShape, layout: Layout | None
) -> tuple[Cache, Slots]:
    """`nobody` made on the device, in every lane of a layout."""

    def make() -> tuple[Cache, Slots]:
        made = nobody(config, dtype, slots, shape, form=form_of(layout))
        if not shares_layers(layout):
            return made
        # Heads where decoding leaves them: it would be compiled once more for caches that lie otherwise.
        heads = PartitionSpec(None, "tensor")
        return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, heads) if x.ndim == 4 else x, made)

    return in_lanes(layout, make, shared=0)()


class Roots(NamedTuple):
    """What candidates go on from."""

    cache: Cache
    lengths: Int[Array, " p"]
    readers: Readers | None  # None: slot i goes on from root i

    def of(self, slots: Int[Array, " b"]) -> Roots:
        """One root for each of some slots, an empty one for who has none."""
        if self.readers is None:
            root, lengths = slots, self.lengths[slots]
        else:
            seats = self.readers.seats[slots]
            root = jnp.maximum(seats, 0) // self.readers.rows.shape[1]
            lengths = jnp.where(seats < 0, 0, self.lengths[root])
        return Roots(jax.tree.map(lambda x: x[root], self.cache), lengths, None)


class _DecodeAttention:
    """One new token a slot; writes its keys and values behind the slot's earlier ones."""

    def __init__(
        self, form: CacheForm, prefix: Cache, prefix_length: Array, roots: Roots, slots: Slots
    ) -> None:
        self.form, self.prefix, self.prefix_length = form, prefix, prefix_length
        self.roots, self.slots = roots, slots
        root_room, own_room = map(form.room, (roots.cache, slots.cache))
        self.root_mask = (jnp.arange(root_room) < roots.lengths[:, None])[:, None]
        self.last = slots.rest_lengths + slots.count - 1  # the new token's place
        self.own_mask = (jnp.arange(own_room) <= self.last[:, None])[:, None]
        self.cache: list[LayerCache] = []

    def __call__(
        self,
        layer: int,
        q: Float[Array, "b t h c"],
        k: Float[Array, "b t g c"],
        v: Float[Array, "b t g c"],
        /,
    ) -> Float[Array, "b t h c"]:
        own = self.form.written(self.slots.cache[layer], self.last, k[:, 0], v[:, 0])
        self.cache.append(own)
        seen = [
            *seen_of_prefix(self.prefix, layer, self.prefix_length),
            Seen(*self.form.readable(own), self.own_mask),
        ]
        if self.root_mask.shape[-1]:
            root = self.form.readable(self.roots.cache[layer])
            seen.append(Seen(*root, self.root_mask, self.roots.readers))
        return attend(q, seen)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=(6, 7))
def decode(
    graphdef: nnx.GraphDef[Llama],
    layout: Layout | None,
    params: nnx.State,
    prefix: Cache,
    prefix_length: Int[Array, ""],
    rule: Rule,
    roots: Cache,
    slots: Slots,
    arrivals: Arrivals,
    prefilled: Prefilled,
    seating: Seating,
    enough: Int[Array, " lanes"],
) -> tuple[Cache, Slots]:
    """Lets `arrivals` enter, and decodes until `enough` slots are inactive: not at all where it is 0.

    In every lane of the layout by itself: what follows `rule` lies side by side for all of them.
    """
    decoded = in_lanes(layout, functools.partial(_decode_lane, graphdef, layout), shared=4)
    return decoded(params, prefix, prefix_length, rule, roots, slots, arrivals, prefilled, seating, enough)


def _decode_lane(
    graphdef: nnx.GraphDef[Llama],
    layout: Layout | None,
    params: nnx.State,
    prefix: Cache,
    prefix_length: Int[Array, ""],
    rule: Rule,
    roots: Cache,
    slots: Slots,
    arrivals: Arrivals,
    prefilled: Prefilled,
    seating: Seating,
    enough: Int[Array, "1"],
) -> tuple[Cache, Slots]:
    form = form_of(layout)
    roots, slots = _enter(form, roots, slots, rule, arrivals, prefilled)
    b = len(slots.count)
    few = () if shares_layers(layout) else moved_slots(b, platform_of(layout))

    def decode_until(left: Array, roots: Roots, slots: Slots) -> Slots:
        """Steps until at most `left` slots are active."""

        def going_on(slots: Slots) -> Array:
            here = slots.active.sum() > left
            return in_step(layout, here.astype(jnp.int32)) > 0

        def step(slots: Slots) -> Slots:
            model = nnx.merge(graphdef, params)
            rows = jnp.arange(len(slots.count))
            attention = _DecodeAttention(form, prefix, prefix_length, roots, slots)
            last = slots.tokens[rows, slots.count - 1]
            position = prefix_length + slots.prompt_lengths + slots.count - 1
            hidden = model(last[:, None], position[:, None], attention)[:, 0]
            tokens, log_probs = choose_tokens(
                model.logits(hidden), slots.keys, slots.count, rule.temperature, rule.top_p
            )
            moved = dataclasses.replace(slots, cache=tuple(attention.cache))
            return _append(moved, tokens, log_probs, rule)

        return jax.lax.while_loop(going_on, step, slots)

    held = Roots(roots, seating.lengths, Readers(seating.rows, seating.seats))
    left = b - enough[0]
    if not few:
        return roots, decode_until(left, held, slots)
    slots = decode_until(jnp.where(left == 0, few[0], left), held, slots)

    def finish(few: Sequence[int], held: Roots, slots: Slots) -> dict[str, Array]:
        """What the last `few` say, moved together: a step costs by slots, whether they are active or not.

        Without the cache, of which a copy would be made: nobody needs it any more.
        """
        size, (now, *fewer) = len(slots.count), few
        (at,) = jnp.nonzero(slots.active, size=now, fill_value=size)
        rows = jnp.minimum(at, size - 1)
        roots, moved = held.of(rows), jax.tree.map(lambda x: x[rows], slots)
        moved = dataclasses.replace(moved, active=moved.active & (at < size))
        moved = decode_until(jnp.int32(fewer[0] if fewer else 0), roots, moved)
        done = finish(fewer, roots, moved) if fewer else _said(moved)
        return {name: old.at[at].set(done[name], mode="drop") for name, old in _said(slots).items()}

    said = jax.lax.cond(left == 0, functools.partial(finish, few, held), _said, slots)
    return roots, dataclasses.replace(slots, **said)


def _enter(
    form: CacheForm,
    roots: Cache,
    slots: Slots,
    rule: Rule,
    arrivals: Arrivals,
    prefilled: Prefilled,
) -> tuple[Cache, Slots]:
    """Puts candidates into slots and samples their first tokens from their prompts' logits."""
    to = arrivals.rests.to

    def put_at(old: Array, new: Array) -> Array:
        return old.at[to].set(new.astype(old.dtype), mode="drop")

    logits, nothing = prefilled.logits[arrivals.after], jnp.zeros_like(to)
    tokens, log_probs = choose_tokens(logits, arrivals.keys, nothing, rule.temperature, rule.top_p)
    state = rule.next_state[nothing, tokens].astype(jnp.int32)
    going_on = (state < len(rule.next_state) - 2) & (arrivals.limit > 1)
    slots = dataclasses.replace(
        slots,
        cache=put(slots.cache, prefilled, arrivals.rests, form),
        tokens=slots.tokens.at[to, 0].set(tokens, mode="drop"),
        log_probs=slots.log_probs.at[to, 0].set(log_probs, mode="drop"),
        count=put_at(slots.count, nothing + 1),
        limit=put_at(slots.limit, arrivals.limit),
        state=put_at(slots.state, state),
        active=put_at(slots.active, going_on),
        prompt_lengths=put_at(slots.prompt_lengths, arrivals.prompt_lengths),
        rest_lengths=put_at(slots.rest_lengths, arrivals.rest_lengths),
        keys=put_at(slots.keys, arrivals.keys),
    )
    return put(roots, prefilled, arrivals.roots, form), slots


def _said(slots: Slots) -> dict[str, Array]:
    """What the host takes from slots."""
    return {name: getattr(slots, name) for name in ("tokens", "log_probs", "count", "state", "active")}


def _append(slots: Slots, tokens: Int[Array, " b"], log_probs: Float[Array, " b"], rule: Rule) -> Slots:
    """Adds one token to each active slot. Finished slots keep what they have until the host takes it."""
    rows = jnp.arange(len(tokens))
    at = jnp.where(slots.active, slots.count, slots.tokens.shape[1])  # out of range: dropped
    count = slots.count + slots.active
    state = jnp.where(slots.active, rule.next_state[slots.state, tokens].astype(jnp.int32), slots.state)
    return dataclasses.replace(
        slots,
        tokens=slots.tokens.at[rows, at].set(tokens, mode="drop"),
        log_probs=slots.log_probs.at[rows, at].set(log_probs, mode="drop"),
        count=count,
        state=state,
        active=slots.active & (state < len(rule.next_state) - 2) & (count < slots.limit),
    )
