"""Attention against a loop that follows the definition."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from envisions_jax.models.attention import (
    Readers,
    Seen,
    attend,
    branch_mask,
    causal_attention,
    causal_mask,
    readable,
)


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
    ends = jnp.array(
        [[7] * 7, [3, 3, 3, 7, 5, 7, 7]]
    )  # two texts, then one whose first token is continued twice
    mask = branch_mask(ends)
    found = causal_attention(jnp.asarray(q), jnp.asarray(k), jnp.asarray(v), mask=mask)
    mask = np.asarray(mask)
    assert np.allclose(found, by_definition(q, k, v, mask), atol=1e-5)


def test_the_worked_example_of_the_mask() -> None:
    sees = ["100000", "110000", "111000", "111100", "110010", "000001"]
    mask = branch_mask(jnp.array([[5, 5, 4, 4, 5, 6]]))
    assert np.asarray(mask[0]).astype(int).tolist() == [[int(one) for one in row] for row in sees]


def test_a_text_alone_is_a_branch_without_others() -> None:
    assert np.array_equal(causal_mask(5), branch_mask(jnp.full((1, 5), 5)))


def test_a_query_that_sees_nothing_gives_numbers() -> None:
    ones = jnp.ones((1, 3, 2, 4))
    found = attend(ones, [Seen(*readable(ones, ones), jnp.zeros((1, 3, 3), bool))])
    assert np.isfinite(np.asarray(found)).all()


def test_rows_may_share_keys_and_values() -> None:
    """Two texts, the second one read by three of four rows of queries; one row stands where two could."""
    rng = np.random.default_rng(2)
    q = rng.normal(size=(4, 1, 6, 4)).astype(np.float32)
    k, v = rng.normal(size=(2, 2, 9, 2, 4)).astype(np.float32)
    of_row, lengths = np.array([1, 0, 1, 1]), np.array([9, 5])
    readers = Readers(jnp.array([[1, 0, 0], [0, 2, 3]]), jnp.array([3, 0, 4, 5]))
    mask = (np.arange(9) < lengths[:, None])[:, None]
    found = attend(
        jnp.asarray(q), [Seen(*readable(jnp.asarray(k), jnp.asarray(v)), jnp.asarray(mask), readers)]
    )
    assert np.allclose(found, by_definition(q, k[of_row], v[of_row], mask[of_row]), atol=1e-5)


@pytest.mark.parametrize("cuts", [(0, 9, 9), (4, 9, 9), (0, 5, 9), (3, 4, 9), (3, 8, 9)])
def test_places_together_are_one(cuts: tuple[int, int, int]) -> None:
    """Keys of nine tokens: the first for all rows, then two places of each row's own; some of them empty."""
    rng = np.random.default_rng(1)
    q = rng.normal(size=(3, 2, 6, 4)).astype(np.float32)
    k, v = rng.normal(size=(2, 3, 9, 2, 4)).astype(np.float32)
    shared = cuts[0]
    k[:, :shared], v[:, :shared] = k[:1, :shared], v[:1, :shared]
    mask = rng.random((3, 2, 9)) < 0.7
    mask[:, :, :shared] = np.arange(shared) < shared - 1  # padding of a prefix is the same for all
    mask[:, :, -1] = True
    places = []
    for start, end in ((0, cuts[0]), (cuts[0], cuts[1]), (cuts[1], cuts[2])):
        keys, values = readable(*(jnp.asarray(x[:, start:end]) for x in (k, v)))
        if end == shared:
            keys, values = keys[0], values[0]
        if end > start:
            row_mask = mask[:1, :1] if end == shared else mask
            places.append(Seen(keys, values, jnp.asarray(row_mask[:, :, start:end])))
    assert np.allclose(attend(jnp.asarray(q), places), by_definition(q, k, v, mask), atol=1e-5)
