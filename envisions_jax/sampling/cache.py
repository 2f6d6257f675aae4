"""Keys and values kept between tokens.

A token being decoded sees three places: the prefix that the whole stage shares, the root that its prompt
shares with a few others, and the rest of its prompt with what its candidate has said so far; see
`models.attention.attend`.

How they lie depends on the devices (`CacheForm`). Readable: keys ``[row, kv head, channel, time]``, values
``[row, kv head, time, channel]``, so that both products of a token being decoded run along memory; see
`models.attention.Seen`. With channels last: both ``[row, kv head, time, channel]``, as they are written.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from envisions_jax.models.attention import readable
from envisions_jax.parallel.layout import Layout, platform_of

LayerCache = tuple[Array, Array]  # keys and values of one layer
Cache = tuple[LayerCache, ...]


@dataclasses.dataclass(frozen=True)
class CacheForm:
    """How keys and values of roots and candidates lie."""

    channels_last: bool

    def shapes(self, rows: int, length: int, heads: int, channels: int) -> tuple[tuple[int, ...], ...]:
        """Of keys and of values."""
        values = (rows, heads, length, channels)
        return (values if self.channels_last else (rows, heads, channels, length)), values

    def room(self, cache: Cache) -> int:
        """Tokens that each row has room for."""
        return cache[0][1].shape[2]

    def written(
        self, layer: LayerCache, at: Int[Array, " b"], k: Float[Array, "b g c"], v: Float[Array, "b g c"]
    ) -> LayerCache:
        """With one more token in every row, at its place there."""
        keys, values = layer
        rows = jnp.arange(len(at))
        if self.channels_last:
            # By head too: else the compiler lays the heads of a token side by side while a loop lasts.
            place = (rows[:, None], jnp.arange(k.shape[1]), at[:, None])
            return keys.at[place].set(k), values.at[place].set(v)
        return keys.at[rows, ..., at].set(k), values.at[rows, :, at].set(v)

    def put(
        self, layer: LayerCache, to: Int[Array, ""], k: Float[Array, "t g c"], v: Float[Array, "t g c"]
    ) -> LayerCache:
        """With these tokens at the beginning of a row."""
        keys, values = readable(k[None], v[None])
        if self.channels_last:
            keys = keys.swapaxes(-1, -2)
        new = zip(layer, (keys, values), strict=True)
        new_keys, new_values = (jax.lax.dynamic_update_slice_in_dim(old, x, to, axis=0) for old, x in new)
        return new_keys, new_values

    def readable(self, layer: LayerCache) -> LayerCache:
        """As attention reads them."""
        keys, values = layer
        return (keys.swapaxes(-1, -2) if self.channels_last else keys), values


READABLE = CacheForm(channels_last=False)


def form_of(layout: Layout | None) -> CacheForm:
    """The form for the devices of a layout.

    TPUs' compiler wants channels last in what is written in a loop. It would copy all caches that lie
    otherwise whenever decoding goes on (libtpu 0.0.42, two layers of LLaMA-2-7B, caches of 1.0 GiB:
    temporaries of 2.0 GiB with time last in keys, of 1.0 with tokens before heads, of 0.5 so).
    """
    return CacheForm(channels_last=platform_of(layout) == "tpu")


def host_zeros(shape: tuple[int, ...], dtype: DTypeLike, sharding: jax.sharding.Sharding) -> Array:
    """Zeros that no program has to be compiled for; the device's own copy, which may be written into."""
    return jax.device_put(np.zeros(shape, dtype), sharding, may_alias=False)
