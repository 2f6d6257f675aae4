"""Chunked cross-entropy against a NumPy float64 computation of the whole matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envisions_jax.training.losses import chunked_cross_entropy

M, D, V = 40, 12, 53


def problem(used: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    weights = np.where(np.arange(M) < used, rng.uniform(0.1, 1, M), 0)
    return rng.normal(size=(M, D)), rng.normal(size=(V, D)), rng.integers(0, V, M), weights


def by_numpy(used: int) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    hidden, head, ids, weights = problem(used)
    logits = hidden @ head.T
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    nll = -log_probs[np.arange(M), ids]
    d_logits = (np.exp(log_probs) - np.eye(V)[ids]) * weights[:, None]
    return float(weights @ nll), nll, d_logits @ head, d_logits.T @ hidden


@pytest.mark.parametrize(("chunk", "used"), [(1, 3), (7, 33), (16, 16), (40, 40), (128, 1)])
def test_loss_and_gradients(chunk: int, used: int) -> None:
    hidden, head, ids, weights = problem(used)

    def loss(hidden: jax.Array, head: jax.Array) -> tuple[jax.Array, jax.Array]:
        return chunked_cross_entropy(
            hidden, head, jnp.asarray(ids), jnp.asarray(weights, jnp.float32), jnp.int32(used), chunk
        )

    arguments = jnp.asarray(hidden, jnp.float32), jnp.asarray(head, jnp.float32)
    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (found, nll), (d_hidden, d_head) = gradient(*arguments)
    expected, expected_nll, expected_d_hidden, expected_d_head = by_numpy(used)
    assert found == pytest.approx(expected, abs=1e-4)
    np.testing.assert_allclose(nll[:used], expected_nll[:used], atol=1e-5)
    np.testing.assert_allclose(d_hidden, expected_d_hidden, atol=1e-5)
    np.testing.assert_allclose(d_head, expected_d_head, atol=1e-5)
    assert loss(*arguments)[0] == pytest.approx(float(found), abs=1e-6)  # the path without gradients


def test_without_targets_all_is_zero() -> None:
    hidden, head, ids, _ = problem(0)
    arguments = (jnp.asarray(ids), jnp.zeros(M), jnp.int32(0))
    gradient = jax.grad(lambda h: chunked_cross_entropy(h, jnp.asarray(head), *arguments)[0])
    assert not gradient(jnp.asarray(hidden)).any()


def test_a_scaled_loss_has_scaled_gradients() -> None:
    hidden, head, ids, weights = (jnp.asarray(x) for x in problem(20))

    def loss(hidden: jax.Array, scale: float) -> jax.Array:
        return scale * chunked_cross_entropy(hidden, head, ids, weights, jnp.int32(20), 16)[0]

    np.testing.assert_allclose(jax.grad(loss)(hidden, 3.0), 3 * jax.grad(loss)(hidden, 1.0), rtol=1e-6)


def test_logits_are_never_whole() -> None:
    """Compiled for 4,096 slots and 32,000 tokens (500 MB of logits), it needs the memory of a few chunks."""
    slots, vocabulary, chunk = 4096, 32_000, 64
    shapes = [((slots, 8), jnp.float32), ((vocabulary, 8), jnp.float32), ((slots,), jnp.int32)]
    shapes += [((slots,), jnp.float32), ((), jnp.int32)]
    arguments = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    gradient = jax.jit(jax.grad(lambda *a: chunked_cross_entropy(*a, chunk)[0], argnums=(0, 1)))
    memory = gradient.lower(*arguments).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 6 * chunk * vocabulary * 4 < slots * vocabulary * 4 / 10
