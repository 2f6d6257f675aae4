"""Cross-entropy over a large vocabulary without ever holding [batch, time, vocabulary].

Logits are computed for target positions only, a chunk of them at a time, and the gradients with respect to
the hidden states and the output matrix are computed in the same visit (as the gradient of a weighted sum
of log-probs is known as soon as its logits are), so nothing of size [chunk, vocabulary] outlives its chunk
and nothing is computed twice. The number of chunks visited is data, not shape: one compiled program serves
any number of targets at a cost proportional to it.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

DEFAULT_CHUNK = 128
"""Targets per visit at the end, where more would round up too far."""

WIDE = 2
"""Chunks per visit while that many are left: the [v, d] gradient is swept half as often, a tenth less time on
CPU with 2,048 targets; wider visits gain nothing more."""


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def chunked_cross_entropy(
    hidden: Float[Array, "m d"],
    head: Float[Array, "v d"],
    target_ids: Int[Array, " m"],
    weights: Float[Array, " m"],
    num_targets: Int[Array, ""],
    chunk: int = DEFAULT_CHUNK,
) -> tuple[Float[Array, ""], Float[Array, " m"]]:
    """Weighted negative log-likelihood of `target_ids`, differentiable in `hidden` and `head`.

    Args:
        hidden: final hidden states at the target positions, in the compute dtype.
        head: output matrix, f32 master weights or compute dtype.
        target_ids: the tokens to predict.
        weights: weight of each target in the loss; 0 for unused slots.
        num_targets: only the first `num_targets` slots are visited (rounded up to whole chunks).
        chunk: targets per visit, `WIDE` times as many while that many are left.

    Returns:
        (Σ weights · nll, nll of each slot in nats, 0 where not visited). Only the first output has a
        gradient.
    """
    loss, nll, _, _ = _visit(hidden, head, target_ids, weights, num_targets, chunk, with_gradients=False)
    return loss, nll


def _visit(
    hidden: Float[Array, "m d"],
    head: Float[Array, "v d"],
    target_ids: Int[Array, " m"],
    weights: Float[Array, " m"],
    num_targets: Int[Array, ""],
    chunk: int,
    *,
    with_gradients: bool,
) -> tuple[Array, Array, Array, Array]:
    """Loss, nll [m], d loss/d hidden [m d] and d loss/d head [v d] (both empty where not asked for)."""
    slots = hidden.shape[0]
    chunk = min(chunk, slots)
    padding = -slots % chunk
    if padding:
        hidden = jnp.pad(hidden, ((0, padding), (0, 0)))
        target_ids, weights = jnp.pad(target_ids, (0, padding)), jnp.pad(weights, (0, padding))
    matrix = head.astype(hidden.dtype)

    def visit(
        size: int, i: Array, carry: tuple[Array, Array, Array, Array]
    ) -> tuple[Array, Array, Array, Array]:
        loss, nll, d_hidden, d_head = carry
        start = i * size
        h, ids, w = (jax.lax.dynamic_slice_in_dim(x, start, size) for x in (hidden, target_ids, weights))
        logits = jnp.einsum("cd,vd->cv", h, matrix, preferred_element_type=jnp.float32)
        log_normaliser = jax.nn.logsumexp(logits, axis=-1)
        chunk_nll = log_normaliser - jnp.take_along_axis(logits, ids[:, None], axis=-1)[:, 0]
        loss += jnp.sum(w * chunk_nll)
        nll = jax.lax.dynamic_update_slice_in_dim(nll, chunk_nll, start, 0)
        if with_gradients:
            is_target = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 1) == ids[:, None]
            d_logits = (jnp.exp(logits - log_normaliser[:, None]) - is_target) * w[:, None]
            d_logits = d_logits.astype(hidden.dtype)
            d_h = jnp.einsum("cv,vd->cd", d_logits, matrix, preferred_element_type=jnp.float32)
            d_hidden = jax.lax.dynamic_update_slice_in_dim(d_hidden, d_h.astype(d_hidden.dtype), start, 0)
            d_head += jnp.einsum("cv,cd->vd", d_logits, h, preferred_element_type=jnp.float32)
        return loss, nll, d_hidden, d_head

    empty = jnp.zeros((0,), jnp.float32)
    start = (
        jnp.float32(0),
        jnp.zeros(slots + padding, jnp.float32),
        jnp.zeros_like(hidden) if with_gradients else empty,
        jnp.zeros(head.shape, jnp.float32) if with_gradients else empty,
    )
    chunks = (num_targets + chunk - 1) // chunk
    done = jnp.int32(0)
    if slots >= WIDE * chunk:
        start = jax.lax.fori_loop(0, chunks // WIDE, partial(visit, WIDE * chunk), start)
        done = chunks - chunks % WIDE
    loss, nll, d_hidden, d_head = jax.lax.fori_loop(done, chunks, partial(visit, chunk), start)
    return loss, nll[:slots], d_hidden[:slots], d_head


def _forward(
    hidden: Array, head: Array, target_ids: Array, weights: Array, num_targets: Array, chunk: int
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    loss, nll, d_hidden, d_head = _visit(
        hidden, head, target_ids, weights, num_targets, chunk, with_gradients=True
    )
    return (loss, nll), (d_hidden, d_head.astype(head.dtype))


def _backward(
    chunk: int, gradients: tuple[Array, Array], cotangents: tuple[Array, Array]
) -> tuple[Array, Array, None, None, None]:
    d_loss, _ = cotangents
    d_hidden, d_head = ((d_loss * x).astype(x.dtype) for x in gradients)
    return d_hidden, d_head, None, None, None


chunked_cross_entropy.defvjp(_forward, _backward)
