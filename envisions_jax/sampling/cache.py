"""Keys and values kept between tokens, and attention over several places they are kept in.

A token being decoded sees three: the prefix that the whole stage shares, its prompt, and what its
candidate has said so far. Scores of all are computed apart (the shared prefix as one matrix product
for the whole batch), then go through one softmax.

Caches are laid out ``[slot, kv head, time, channel]``: the products over time are then contiguous
(on XLA:CPU 40 slots decode 1.2 times faster than with time before heads).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from envisions_jax.models.attention import MASKED

LayerCache = tuple[Array, Array]  # keys and values of one layer
Cache = tuple[LayerCache, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """Keys and values that queries may see: ``[g s c]`` if all rows share them, else ``[b g s c]``.

    `mask` is ``[b t s]``, with 1 for any of b, t that it does not depend on.
    """

    keys: Float[Array, "*b g s c"]
    values: Float[Array, "*b g s c"]
    mask: Bool[Array, "#b #t s"]

    @property
    def rows(self) -> str:
        return "" if self.keys.ndim == 3 else "b"


def attend(q: Float[Array, "b t h c"], places: Sequence[Seen]) -> Float[Array, "b t h c"]:
    """Softmax attention of `q` over all `places` together, in float32 whatever the inputs' type."""
    b, t, h, c = q.shape
    g = places[0].keys.shape[-3]
    grouped = q.reshape(b, t, g, h // g, c)
    scores = [
        jnp.where(
            place.mask[:, None, None],
            jnp.einsum(
                f"btgrc,{place.rows}gsc->bgrts", grouped, place.keys, preferred_element_type=jnp.float32
            )
            * c**-0.5,
            MASKED,
        )
        for place in places
    ]
    weights = jax.nn.softmax(jnp.concatenate(scores, axis=-1), axis=-1)
    mixed = jnp.zeros((b, t, g, h // g, c), jnp.float32)
    start = 0
    for place in places:
        end = start + place.keys.shape[-2]
        part = weights[..., start:end].astype(place.values.dtype)
        mixed += jnp.einsum(
            f"bgrts,{place.rows}gsc->btgrc", part, place.values, preferred_element_type=jnp.float32
        )
        start = end
    return mixed.reshape(b, t, h, c).astype(q.dtype)


def heads_first(x: Float[Array, "b t g c"]) -> Float[Array, "b g t c"]:
    """From the trunk's layout to the caches'."""
    return x.transpose(0, 2, 1, 3)
