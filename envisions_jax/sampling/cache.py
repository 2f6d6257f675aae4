"""Keys and values kept between tokens.

A token being decoded sees three places: the prefix that the whole stage shares, the root that its prompt
shares with a few others, and the rest of its prompt with what its candidate has said so far; see
`models.attention.attend`.

Keys are laid out ``[row, kv head, channel, time]``, values ``[row, kv head, time, channel]``: both products
of a token being decoded then run along memory; see `models.attention.Seen`.
"""

import jax
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array

LayerCache = tuple[Array, Array]  # keys and values of one layer
Cache = tuple[LayerCache, ...]


def host_zeros(shape: tuple[int, ...], dtype: DTypeLike, sharding: jax.sharding.Sharding) -> Array:
    """Zeros that no program has to be compiled for; the device's own copy, which may be written into."""
    return jax.device_put(np.zeros(shape, dtype), sharding, may_alias=False)
