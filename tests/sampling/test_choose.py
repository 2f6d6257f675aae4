"""Drawn tokens against the distribution they should come from, the softmax, by chi-square."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from envisions_jax.sampling.choose import choose_tokens, stream_key

V = 700  # not a multiple of the block size
DRAWS = 20_000


def nucleus(probabilities: np.ndarray, top_p: float) -> np.ndarray:
    """The fewest most likely tokens that reach top_p, by sorting."""
    order = np.argsort(-probabilities, kind="stable")
    keep = np.searchsorted(np.cumsum(probabilities[order]), top_p) + 1
    kept = np.zeros_like(probabilities)
    kept[order[:keep]] = probabilities[order[:keep]]
    return kept / kept.sum()


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def draw(
    logits: np.ndarray, temperature: float, top_p: float, draws: int = DRAWS
) -> tuple[np.ndarray, np.ndarray]:
    keys = np.stack([stream_key(0, "test", k) for k in range(draws)])
    tokens, log_probs = choose_tokens(
        jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (draws, len(logits))),
        jnp.asarray(keys),
        jnp.zeros(draws, jnp.int32),
        jnp.float32(temperature),
        jnp.float32(top_p),
    )
    return np.asarray(tokens), np.asarray(log_probs)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 0.9), (1.0, 0.5), (1.7, 1.0)])
def test_frequencies_match_the_softmax(temperature: float, top_p: float) -> None:
    logits = np.random.default_rng(1).normal(0, 2, V)
    expected = softmax(logits / temperature)
    if top_p < 1:
        expected = nucleus(expected, top_p)
    tokens, _ = draw(logits, temperature, top_p)
    counts = np.bincount(tokens, minlength=V)
    assert counts[expected == 0].sum() == 0
    common = expected * DRAWS >= 5  # the rest together, as the chi-square test wants
    observed = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum()) * DRAWS
    keep = wanted > 0
    assert stats.chisquare(observed[keep], wanted[keep] * observed.sum() / wanted[keep].sum()).pvalue > 1e-3


def test_log_probs_are_those_of_temperature_one_over_the_full_vocabulary() -> None:
    logits = np.random.default_rng(2).normal(0, 3, V)
    tokens, log_probs = draw(logits, 0.6, 0.8, draws=200)
    assert np.abs(log_probs - np.log(softmax(logits))[tokens]).max() < 1e-5


def test_temperature_zero_takes_the_most_likely() -> None:
    logits = np.random.default_rng(3).normal(0, 1, V)
    tokens, _ = draw(logits, 0.0, 1.0, draws=8)
    assert set(tokens.tolist()) == {int(logits.argmax())}


def test_a_certain_token_is_always_drawn() -> None:
    logits = np.full(V, -80.0)
    logits[V - 1] = 20.0
    tokens, _ = draw(logits, 1.0, 1.0, draws=500)
    assert set(tokens.tolist()) == {V - 1}


def test_streams_differ_by_seed_identity_and_number() -> None:
    keys = {tuple(stream_key(*key)) for key in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]}
    assert len(keys) == 4
    assert (stream_key(0, "a", 0) == stream_key(0, "a", 0)).all()
