"""Keys and values kept between tokens.

A token being decoded sees three places: the prefix that the whole stage shares, the root that its prompt
shares with a few others, and the rest of its prompt with what its candidate has said so far; see
`models.attention.attend`.

How they lie depends on the devices (`CacheForm`). Readable: keys ``[row, kv head, channel, time]``, values
``[row, kv head, time, channel]``, so that both products of a token being decoded run along memory; see
`models.attention.Seen`. By time: both ``[row, time, kv head, channel]``, as a token's are written.
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

    by_time: bool

    def shapes(self, rows: int, length: int, heads: int, channels: int) -> tuple[tuple[int, ...], ...]:
        """Of keys and of values."""
        if self.by_time:
            return ((rows, length, heads, channels),) * 2
        return (rows, heads, channels, length), (rows, heads, length, channels)

    def room(self, cache: Cache) -> int:
        """Tokens that each row has room for."""
        return cache[0][0].shape[1 if self.by_time else -1]

    def written(
        self, layer: LayerCache, at: Int[Array, " b"], k: Float[Array, "b g c"], v: Float[Array, "b g c"]
    ) -> LayerCache:
        """With one more token in every row, at its place there."""
        keys, values = layer
        rows = jnp.arange(len(at))
        if self.by_time:
            return keys.at[rows, at].set(k), values.at[rows, at].set(v)
        return keys.at[rows, ..., at].set(k), values.at[rows, :, at].set(v)

    def put(
        self, layer: LayerCache, to: Int[Array, " a"], k: Float[Array, "a t g c"], v: Float[Array, "a t g c"]
    ) -> LayerCache:
        """With these tokens at the beginning of some rows; out of range: of none."""
        length = k.shape[1]
        if self.by_time:
            first, second = (
                old.at[to, :length].set(new, mode="drop") for old, new in zip(layer, (k, v), strict=True)
            )
            return first, second
        keys, values = readable(k, v)
        return (
            layer[0].at[to, ..., :length].set(keys, mode="drop"),
            layer[1].at[to, :, :length].set(values, mode="drop"),
        )

    def readable(self, layer: LayerCache) -> LayerCache:
        """As attention reads them."""
        return readable(*layer) if self.by_time else layer


READABLE = CacheForm(by_time=False)


def form_of(layout: Layout | None) -> CacheForm:
    """The form for the devices of a layout.

    TPUs' compiler wants what is written in a loop by time. It would copy a whole cache that lies otherwise
    whenever decoding goes on: as much memory again (libtpu 0.0.42: 42 GiB beside 41 of caches of LLaMA-2-7B).
    """
    return CacheForm(by_time=platform_of(layout) == "tpu")


def host_zeros(shape: tuple[int, ...], dtype: DTypeLike, sharding: jax.sharding.Sharding) -> Array:
    """Zeros that no program has to be compiled for; the device's own copy, which may be written into."""
    return jax.device_put(np.zeros(shape, dtype), sharding, may_alias=False)
