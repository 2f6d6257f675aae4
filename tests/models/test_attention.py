"""Attention against a loop that follows the definition."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from envisions_jax.models.attention import causal_attention, causal_mask, masked_attention


def by_definition(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    b, t, h, c = q.shape
    shared = h // k.shape[2]
    out = np.zeros_like(q)
    for row in range(b):
        for head in range(h):
            for time in range(t):
                seen = np.flatnonzero(mask[row, time])
                scores = k[row, seen, head // shared] @ q[row, time, head] / np.sqrt(c)
                weights = np.exp(scores - scores.max())
                out[row, time, head] = (weights / weights.sum()) @ v[row, seen, head // shared]
    return out


@pytest.mark.parametrize("kv_heads", [1, 2, 6])
def test_attention_follows_the_definition(kv_heads: int) -> None:
    rng = np.random.default_rng(0)
    q = rng.normal(size=(2, 7, 6, 4)).astype(np.float32)
    k, v = rng.normal(size=(2, 2, 7, kv_heads, 4)).astype(np.float32)
    positions = np.array([[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 0, 1, 2, 3]])
    segments = np.array([[1] * 7, [1] * 3 + [2] * 4])
    mask = np.asarray(causal_mask(jnp.asarray(segments), jnp.asarray(positions)))
    found = causal_attention(
        jnp.asarray(q),
        jnp.asarray(k),
        jnp.asarray(v),
        segment_ids=jnp.asarray(segments),
        positions=jnp.asarray(positions),
    )
    assert np.allclose(found, by_definition(q, k, v, mask), atol=1e-5)


def test_the_worked_example_of_the_mask() -> None:
    mask = causal_mask(jnp.array([[1, 1, 2]]), jnp.array([[0, 1, 0]]))
    assert np.asarray(mask[0]).astype(int).tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]


def test_a_query_that_sees_nothing_gives_numbers() -> None:
    ones = jnp.ones((1, 3, 2, 4))
    found = masked_attention(ones, ones, ones, jnp.zeros((1, 3, 3), bool))
    assert np.isfinite(np.asarray(found)).all()


def test_keys_may_be_more_than_queries() -> None:
    rng = np.random.default_rng(1)
    q = rng.normal(size=(1, 2, 2, 4)).astype(np.float32)
    k, v = rng.normal(size=(2, 1, 5, 2, 4)).astype(np.float32)
    mask = np.array([[[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]], bool)
    found = masked_attention(jnp.asarray(q), jnp.asarray(k), jnp.asarray(v), jnp.asarray(mask))
    assert np.allclose(found, by_definition(q, k, v, mask), atol=1e-5)
