"""Accelerators' kernels for attention beside what XLA makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envisions_jax.models.attention import branch_mask, causal_attention
from envisions_jax.models.flash import flash_attention, kernel_for

ENDS = np.zeros((2, 256), np.int32)
ENDS[0, :100], ENDS[0, 100:150], ENDS[0, 150:200] = 200, 150, 200  # a root of two branches, then padding
ENDS[1, :60], ENDS[1, 60:] = 60, 256  # two texts, no padding


def test_splash_attention_and_its_gradients_are_those_of_xla() -> None:
    random = np.random.default_rng(0)
    q, k, v, wanted = (
        jnp.asarray(random.normal(size=(2, 256, heads, 128)), jnp.float32) for heads in (4, 2, 2, 4)
    )
    mask, is_text = branch_mask(jnp.asarray(ENDS)), jnp.asarray(ENDS > 0)[:, :, None, None]

    def by_xla(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        attended = causal_attention(q, k, v, mask=mask) * is_text
        return (attended * wanted).sum(), attended

    def by_kernel(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        attended = flash_attention("splash", q, k, v, mask, interpret=True) * is_text
        return (attended * wanted).sum(), attended

    (_, expected), expected_gradients = jax.jit(jax.value_and_grad(by_xla, (0, 1, 2), has_aux=True))(q, k, v)
    (_, found), gradients = jax.jit(jax.value_and_grad(by_kernel, (0, 1, 2), has_aux=True))(q, k, v)
    assert jnp.abs(found - expected).max() <= 1e-5
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        assert jnp.isfinite(gradient).all()
        assert jnp.abs(gradient - other).max() <= 1e-5


@pytest.mark.parametrize(
    ("platform", "dtype", "length", "channels", "kernel"),
    [
        ("cpu", jnp.float32, 2048, 128, "xla"),
        ("gpu", jnp.bfloat16, 2048, 128, "cudnn"),
        ("cuda", jnp.bfloat16, 320, 64, "cudnn"),
        ("gpu", jnp.bfloat16, 2048, 256, "xla"),
        ("gpu", jnp.float32, 2048, 128, "xla"),
        ("tpu", jnp.bfloat16, 2048, 128, "splash"),
        ("tpu", jnp.float32, 384, 128, "splash"),
        ("tpu", jnp.bfloat16, 320, 128, "xla"),
        ("tpu", jnp.bfloat16, 2048, 64, "xla"),
    ],
)
def test_a_kernel_is_taken_where_it_serves(
    platform: str, dtype: type, length: int, channels: int, kernel: str
) -> None:
    assert kernel_for(platform, dtype, length, channels) == kernel
