"""Accelerators' kernels for attention beside what XLA makes of it."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envisions_jax.models.attention import branch_mask, causal_attention
from envisions_jax.models.flash import flash_attention, kernel_for
from envisions_jax.parallel.kernels import kernel_on
from envisions_jax.sampling.prefill import PromptAttention

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


def test_a_prefix_is_seen_by_all_rows() -> None:
    """As prompts see it: laid in front of each row, with padding behind it."""
    random = np.random.default_rng(1)
    shape = (2, 128, 2, 128)
    q, k, v = (jnp.asarray(random.normal(size=shape), jnp.float32) for _ in range(3))
    keys = jnp.asarray(random.normal(size=(2, 128, 256)), jnp.float32)
    values = jnp.asarray(random.normal(size=(2, 256, 128)), jnp.float32)
    ends = jnp.asarray(ENDS[:, 90:218]).clip(max=128)
    found, expected = (
        PromptAttention(((keys, values),), jnp.int32(200), branch_mask(ends), kernel)(0, q, k, v)
        for kernel in (functools.partial(flash_attention, "splash", interpret=True), None)
    )
    is_text = (ends > 0)[:, :, None, None]
    assert jnp.abs((found - expected) * is_text).max() <= 1e-5


@pytest.mark.parametrize(
    ("platform", "dtype", "length", "channels", "kernel"),
    [
        ("cpu", jnp.float32, 2048, 128, "xla"),
        ("gpu", jnp.bfloat16, 2048, 128, "cudnn"),
        ("gpu", jnp.bfloat16, 320, 64, "cudnn"),
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


@pytest.mark.parametrize(
    ("capability", "kernel"),
    [("8.0", "cudnn"), ("9.0", "cudnn"), ("10.0", "cudnn"), ("7.0", "xla"), ("gfx90a", "xla")],
)
def test_cudnn_serves_on_nvidias_gpus_from_ampere_on(capability: str, kernel: str) -> None:
    device = SimpleNamespace(platform="gpu", compute_capability=capability)
    assert kernel_on(device, jnp.bfloat16, 2048, 128) == kernel
