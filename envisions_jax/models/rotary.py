"""Rotary position embeddings: plain, linear and LLaMA-3 frequency scaling."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from envisions_jax.models.config import LlamaConfig, RopeScaling

MOST_TABLED = 16_384  # positions; each program holds the table, 8 MiB of so many with heads of 128 channels


def frequencies(config: LlamaConfig) -> np.ndarray:
    """Radians per position of each pair of channels, float32 ``[head_dim / 2]``."""
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    plain = (1.0 / np.float32(config.rope_theta) ** exponents).astype(np.float32)
    if config.rope_scaling is None:
        return plain
    if config.rope_scaling.kind == "linear":
        return (plain / np.float32(config.rope_scaling.factor)).astype(np.float32)
    return _llama3(plain, config.rope_scaling)


def _llama3(plain: np.ndarray, scaling: RopeScaling) -> np.ndarray:
    """Slow waves are divided by `factor`, fast ones kept, those between interpolated (LLaMA 3.1)."""
    context = scaling.original_max_position_embeddings
    wavelengths = 2 * np.pi / plain
    blend = (context / wavelengths - scaling.low_freq_factor) / (
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    blend = np.clip(blend, 0.0, 1.0)
    return ((1 - blend) * plain / scaling.factor + blend * plain).astype(np.float32)


def angles(
    config: LlamaConfig, positions: Int[Array, "b t"]
) -> tuple[Float[Array, "b t 1 c2"], Float[Array, "b t 1 c2"]]:
    """Cosines and sines for `rotate`, in float32: bfloat16 cannot tell neighbouring positions apart.

    Looked up: XLA:CPU would compute them anew for every head of every layer, in the loop that uses them.
    """
    length = config.max_position_embeddings
    if length > MOST_TABLED:
        turns = positions[:, :, None, None].astype(jnp.float32) * frequencies(config)
        return jnp.cos(turns), jnp.sin(turns)
    turns = np.arange(length, dtype=np.float32)[:, None] * frequencies(config)
    cos, sin = (
        jnp.take(jnp.asarray(table(turns)), positions, axis=0, mode="clip") for table in (np.cos, np.sin)
    )
    return cos[:, :, None], sin[:, :, None]


@jax.jit  # traced once and not once a layer, see `models.attention`
def rotate(
    x: Float[Array, "b t n c"], cos: Float[Array, "b t 1 c2"], sin: Float[Array, "b t 1 c2"]
) -> Float[Array, "b t n c"]:
    """Turns channel pair (i, i + c/2) by its angle: Hugging Face's layout, not llama.cpp's (2i, 2i + 1)."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)
