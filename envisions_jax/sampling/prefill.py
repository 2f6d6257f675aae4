"""Keys and values of prompts: of the prefix once a stage, of the rest of each prompt once a prompt."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from envisions_jax.models.attention import causal_mask
from envisions_jax.models.llama import Llama
from envisions_jax.sampling.cache import Cache, LayerCache, Seen, attend, heads_first


class _PromptAttention:
    """Causal attention of prompts behind a shared prefix; keeps every layer's keys and values."""

    def __init__(
        self, prefix: Cache | None, prefix_length: Int[Array, ""], positions: Int[Array, "b t"]
    ) -> None:
        self.prefix = prefix
        self.prefix_length = prefix_length
        self.causal = causal_mask(None, positions)
        self.cache: list[LayerCache] = []

    def __call__(
        self,
        layer: int,
        q: Float[Array, "b t h c"],
        k: Float[Array, "b t g c"],
        v: Float[Array, "b t g c"],
        /,
    ) -> Float[Array, "b t h c"]:
        k, v = heads_first(k), heads_first(v)
        self.cache.append((k, v))
        places = [Seen(k, v, self.causal)]
        if self.prefix is not None:
            places.insert(0, shared_prefix(self.prefix[layer], self.prefix_length))
        return attend(q, places)


def shared_prefix(cache: LayerCache, length: Int[Array, ""]) -> Seen:
    keys, values = cache
    return Seen(keys, values, (jnp.arange(keys.shape[-2]) < length)[None, None])


@functools.partial(jax.jit, static_argnums=0)
def prefill_prefix(graphdef: nnx.GraphDef[Llama], params: nnx.State, tokens: Int[Array, "1 t"]) -> Cache:
    """The cache ``[g t c]`` of a stage's shared prefix, given with its padding behind."""
    model = nnx.merge(graphdef, params)
    positions = jnp.arange(tokens.shape[1])[None]
    attention = _PromptAttention(None, jnp.int32(0), positions)
    model(tokens, positions, attention)
    return tuple((k[0], v[0]) for k, v in attention.cache)


@functools.partial(jax.jit, static_argnums=0)
def prefill_prompts(
    graphdef: nnx.GraphDef[Llama],
    params: nnx.State,
    prefix: Cache,
    prefix_length: Int[Array, ""],
    tokens: Int[Array, "b t"],
    lengths: Int[Array, " b"],
) -> tuple[Cache, Float[Array, "b v"]]:
    """The caches ``[b g t c]`` of prompts without their shared prefix, and the logits after each."""
    model = nnx.merge(graphdef, params)
    positions = jnp.broadcast_to(prefix_length + jnp.arange(tokens.shape[1]), tokens.shape)
    attention = _PromptAttention(prefix, prefix_length, positions)
    hidden = model(tokens, positions, attention)
    last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]
    return tuple(attention.cache), model.logits(last)


def pad_tokens(rows: list[list[int]], shape: tuple[int, int]) -> np.ndarray:
    """int32 ``[b t]`` with the rows' tokens and zeros behind and below them."""
    tokens = np.zeros(shape, np.int32)
    for row, values in zip(tokens, rows, strict=False):
        row[: len(values)] = values
    return tokens
