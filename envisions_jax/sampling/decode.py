"""The device's side of sampling: slots that decode in step, and how candidates enter them.

A slot holds one candidate: its prompt's keys and values, its own, and what it has said. All slots
advance by one token a step inside one compiled loop, which comes back to the host only when enough
of them have finished to be refilled.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx, struct
from jaxtyping import Array, Bool, Float, Int, UInt32

from envisions_jax.models.attention import Seen, attend
from envisions_jax.models.config import LlamaConfig
from envisions_jax.models.llama import Llama
from envisions_jax.sampling.cache import Cache, LayerCache
from envisions_jax.sampling.choose import choose_tokens
from envisions_jax.sampling.prefill import Prefilled, PromptPlaces, put_prompts, shared_prefix


@struct.dataclass
class Slots:
    """What changes while slots decode. `b` slots, `n` room for sampled tokens."""

    cache: Cache  # of sampled tokens, a pair [b g n c] a layer
    tokens: Int[Array, "b n"]
    log_probs: Float[Array, "b n"]
    count: Int[Array, " b"]  # tokens sampled so far
    limit: Int[Array, " b"]  # tokens it may sample
    state: Int[Array, " b"]  # of the stop table
    active: Bool[Array, " b"]
    prompt_lengths: Int[Array, " b"]  # without the shared prefix
    keys: UInt32[Array, "b 2"]  # random stream


@struct.dataclass
class Rule:
    """How tokens are chosen and where a candidate ends; traced, so that a change compiles nothing."""

    temperature: Float[Array, ""]
    top_p: Float[Array, ""]
    next_state: Int[Array, "states v"]  # see `stopping.StopTable`


@struct.dataclass
class Arrivals:
    """Candidates about to enter slots; `a` places, of which some may be unused."""

    prompts: PromptPlaces
    limit: Int[Array, " a"]
    keys: UInt32[Array, "a 2"]


def empty_cache(config: LlamaConfig, rows: int, length: int, dtype: jnp.dtype) -> Cache:
    shape = (rows, config.num_kv_heads, length, config.head_dim)
    return tuple((jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in range(config.num_layers))


def empty_slots(config: LlamaConfig, slots: int, new_length: int, dtype: jnp.dtype) -> Slots:
    def zeros(dtype: type) -> Array:
        return jnp.zeros(slots, dtype)

    return Slots(
        cache=empty_cache(config, slots, new_length, dtype),
        tokens=jnp.zeros((slots, new_length), jnp.int32),
        log_probs=jnp.zeros((slots, new_length), jnp.float32),
        count=zeros(jnp.int32),
        limit=zeros(jnp.int32),
        state=zeros(jnp.int32),
        active=zeros(jnp.bool_),
        prompt_lengths=zeros(jnp.int32),
        keys=jnp.zeros((slots, 2), jnp.uint32),
    )


@functools.partial(jax.jit, static_argnums=0, donate_argnums=(2, 3))
def admit(
    graphdef: nnx.GraphDef[Llama],
    params: nnx.State,
    prompt_cache: Cache,
    slots: Slots,
    rule: Rule,
    arrivals: Arrivals,
    prefilled: Prefilled,
) -> tuple[Cache, Slots]:
    """Puts candidates into slots and samples their first tokens from their prompts' logits."""
    to = arrivals.prompts.to

    def put(old: Array, new: Array) -> Array:
        return old.at[to].set(new.astype(old.dtype), mode="drop")

    model = nnx.merge(graphdef, params)
    prompt_cache, logits = put_prompts(model, prompt_cache, prefilled, arrivals.prompts)
    nothing = jnp.zeros_like(to)
    tokens, log_probs = choose_tokens(logits, arrivals.keys, nothing, rule.temperature, rule.top_p)
    state = rule.next_state[nothing, tokens].astype(jnp.int32)
    going_on = (state < len(rule.next_state) - 2) & (arrivals.limit > 1)
    slots = dataclasses.replace(
        slots,
        tokens=slots.tokens.at[to, 0].set(tokens, mode="drop"),
        log_probs=slots.log_probs.at[to, 0].set(log_probs, mode="drop"),
        count=put(slots.count, nothing + 1),
        limit=put(slots.limit, arrivals.limit),
        state=put(slots.state, state),
        active=put(slots.active, going_on),
        prompt_lengths=put(slots.prompt_lengths, arrivals.prompts.length),
        keys=put(slots.keys, arrivals.keys),
    )
    return prompt_cache, slots


class _DecodeAttention:
    """One new token a slot; writes its keys and values behind the slot's earlier ones."""

    def __init__(self, prefix: Cache, prefix_length: Array, prompt_cache: Cache, slots: Slots) -> None:
        self.prefix, self.prefix_length = prefix, prefix_length
        self.prompt_cache, self.slots = prompt_cache, slots
        prompt_room, new_room = prompt_cache[0][0].shape[2], slots.tokens.shape[1]
        self.prompt_mask = (jnp.arange(prompt_room) < slots.prompt_lengths[:, None])[:, None]
        self.new_mask = (jnp.arange(new_room) < slots.count[:, None])[:, None]
        self.cache: list[LayerCache] = []

    def __call__(
        self,
        layer: int,
        q: Float[Array, "b t h c"],
        k: Float[Array, "b t g c"],
        v: Float[Array, "b t g c"],
        /,
    ) -> Float[Array, "b t h c"]:
        keys, values = self.slots.cache[layer]
        at = (jnp.arange(len(q)), slice(None), self.slots.count - 1)
        keys, values = keys.at[at].set(k[:, 0]), values.at[at].set(v[:, 0])
        self.cache.append((keys, values))
        return attend(
            q,
            [
                shared_prefix(self.prefix[layer], self.prefix_length),
                Seen(*self.prompt_cache[layer], self.prompt_mask),
                Seen(keys, values, self.new_mask),
            ],
        )


@functools.partial(jax.jit, static_argnums=0, donate_argnums=5)
def decode(
    graphdef: nnx.GraphDef[Llama],
    params: nnx.State,
    prefix: Cache,
    prefix_length: Int[Array, ""],
    prompt_cache: Cache,
    slots: Slots,
    rule: Rule,
    enough: Int[Array, ""],
) -> Slots:
    """Decodes until `enough` slots are inactive."""

    def going_on(slots: Slots) -> Array:
        return (~slots.active).sum() < enough

    def step(slots: Slots) -> Slots:
        model = nnx.merge(graphdef, params)
        rows = jnp.arange(len(slots.count))
        attention = _DecodeAttention(prefix, prefix_length, prompt_cache, slots)
        last = slots.tokens[rows, slots.count - 1]
        position = prefix_length + slots.prompt_lengths + slots.count - 1
        hidden = model(last[:, None], position[:, None], attention)[:, 0]
        tokens, log_probs = choose_tokens(
            model.logits(hidden), slots.keys, slots.count, rule.temperature, rule.top_p
        )
        return _append(dataclasses.replace(slots, cache=tuple(attention.cache)), tokens, log_probs, rule)

    return jax.lax.while_loop(going_on, step, slots)


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
