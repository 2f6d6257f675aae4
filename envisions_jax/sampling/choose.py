"""Drawing a token from logits: temperature, nucleus, no sort of the vocabulary."""

from __future__ import annotations

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

BLOCK = 256


def stream_key(seed: int, identity: str, k: int) -> np.ndarray:
    """The random stream of candidate `k` of the prompt named `identity`: uint32 ``[2]``, a Threefry key.

    It depends on nothing else: not on batches, order or what else is sampled.
    """
    digest = hashlib.blake2b(f"{seed}\x00{identity}\x00{k}".encode(), digest_size=8).digest()
    return np.frombuffer(digest, np.uint32)


def choose_tokens(
    logits: Float[Array, "b v"],
    keys: UInt32[Array, "b 2"],
    steps: Int[Array, " b"],
    temperature: Float[Array, ""],
    top_p: Float[Array, ""],
) -> tuple[Int[Array, " b"], Float[Array, " b"]]:
    """Draws one token a row from ``softmax(logits / temperature)`` cut to its nucleus.

    Args:
      steps: how many tokens the row's stream has given; with `keys` it fixes the draw.
      temperature: 0 takes the most likely token.
      top_p: the nucleus is the fewest most likely tokens whose probabilities reach it; 1 is all.

    Returns:
      tokens, and their log-probabilities at temperature 1 over the full vocabulary.
    """
    peak = logits.max(axis=-1, keepdims=True)
    log_normalizer = jnp.log(jnp.exp(logits - peak).sum(axis=-1)) + peak[:, 0]

    def draw() -> Int[Array, " b"]:
        weights = jnp.exp((logits - peak) / temperature)
        weights = jax.lax.cond(top_p < 1, lambda w: _nucleus(w, top_p), lambda w: w, weights)
        uniform = jax.vmap(lambda key, step: jax.random.uniform(jax.random.fold_in(key, step)))
        return _invert_cdf(weights, uniform(jax.random.wrap_key_data(keys), steps))

    tokens = jax.lax.cond(temperature > 0, draw, lambda: jnp.argmax(logits, axis=-1).astype(jnp.int32))
    chosen = jnp.take_along_axis(logits, tokens[:, None], axis=-1)[:, 0]
    return tokens, chosen - log_normalizer


def _nucleus(weights: Float[Array, "b v"], top_p: Float[Array, ""]) -> Float[Array, "b v"]:
    """Zeroes what is outside the nucleus.

    The threshold is the greatest weight whose upper set still holds `top_p` of the mass. It is found
    by bisection on the bits of the float (for positive floats their order is that of integers): 31
    exact steps instead of a sort.
    """
    wanted = top_p * weights.sum(axis=-1)

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = low + (high - low) // 2
        threshold = jax.lax.bitcast_convert_type(middle, jnp.float32)
        mass = jnp.where(weights >= threshold[:, None], weights, 0).sum(axis=-1)
        enough = mass >= wanted
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    low = jnp.zeros(len(weights), jnp.int32)
    high = jax.lax.bitcast_convert_type(weights.max(axis=-1), jnp.int32) + 1
    low, _ = jax.lax.fori_loop(0, 31, halve, (low, high))
    return jnp.where(weights >= jax.lax.bitcast_convert_type(low, jnp.float32)[:, None], weights, 0)


def _invert_cdf(weights: Float[Array, "b v"], uniform: Float[Array, " b"]) -> Int[Array, " b"]:
    """The token at which the cumulative weight passes ``uniform · total``; in two levels of blocks."""
    b, v = weights.shape
    blocks = jnp.pad(weights, ((0, 0), (0, -v % BLOCK))).reshape(b, -1, BLOCK)
    totals = jnp.cumsum(blocks.sum(axis=-1), axis=-1)
    target = uniform * totals[:, -1]
    block = _first_above(totals, target)
    before = jnp.where(block > 0, _at(totals, jnp.maximum(block - 1, 0)), 0)
    inside = jnp.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0]
    return block * BLOCK + _first_above(jnp.cumsum(inside, axis=-1), target - before)


def _first_above(cumulative: Float[Array, "b n"], target: Float[Array, " b"]) -> Int[Array, " b"]:
    """First index whose cumulative weight exceeds `target`; if rounding left none, the last with weight."""
    index = (cumulative <= target[:, None]).sum(axis=-1)
    last_with_weight = jnp.argmax(cumulative, axis=-1)  # the first index that holds the full sum
    return jnp.minimum(index, last_with_weight)


def _at(values: Float[Array, "b n"], index: Int[Array, " b"]) -> Float[Array, " b"]:
    return jnp.take_along_axis(values, index[:, None], axis=-1)[:, 0]
