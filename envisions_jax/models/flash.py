"""Attention of whole rows by the accelerator's own kernels: cuDNN's on NVIDIA GPUs, splash attention on TPUs.

Flash attention (arXiv 2205.14135): scores never leave the chip's fast memory, and blocks that nobody sees are
not computed. What a kernel does not support (see `kernel_for`) is left to `attention.causal_attention`, which
XLA compiles everywhere. Checked against it in the tests: splash attention, interpreted, within 2e-6 in
float32; cuDNN's runs on GPUs only, here it is compiled.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

Kernel = Literal["xla", "cudnn", "splash"]

LANES = 128  # of a TPU's registers: rows and heads come in such steps
BLOCK = 512  # queries, or keys, that the TPU's kernel visits at once
MOST_CHANNELS = 128  # of a head in cuDNN's kernel, before and on Hopper


def kernel_for(platform: str, dtype: DTypeLike, length: int, channels: int) -> Kernel:
    """What attends in rows of `length` tokens with heads of `channels`, on current devices of this platform.

    >>> kernel_for("gpu", "bfloat16", 2048, 128), kernel_for("gpu", "float32", 2048, 128)
    ('cudnn', 'xla')
    """
    if platform == "gpu":
        is_half = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16)
        serves = channels <= MOST_CHANNELS and not (channels % 8 or length % 2)
        return "cudnn" if is_half and serves else "xla"
    if platform == "tpu":
        return "xla" if length % LANES or channels % LANES else "splash"
    return "xla"


def flash_attention(
    kernel: Literal["cudnn", "splash"],
    q: Float[Array, "b t h c"],
    k: Float[Array, "b s g c"],
    v: Float[Array, "b s g c"],
    mask: Bool[Array, "#b t s"],
    *,
    interpret: bool = False,
) -> Float[Array, "b t h c"]:
    """As `causal_attention`: the last t keys are those of the queries, of which none may see a later one.
    Each sees itself, padding too.

    interpret: run the TPU's kernel step by step where there is no TPU.
    """
    t, s = mask.shape[1:]
    mask = mask | jnp.eye(t, s, s - t, dtype=bool)
    if kernel == "cudnn":
        # In a square it then skips what is later. In a rectangle it would align the corners at the top.
        return jax.nn.dot_product_attention(
            q, k, v, mask=mask[:, None], is_causal=t == s, implementation="cudnn"
        )
    return _splash_attention(q, k, v, mask, interpret)


def _splash_attention(q: Array, k: Array, v: Array, mask: Bool[Array, "#b t s"], interpret: bool) -> Array:
    size = next(size for size in (BLOCK, BLOCK // 2, LANES) if not (q.shape[1] % size or k.shape[1] % size))
    blocks = splash.BlockSizes(
        block_q=size,
        block_kv=size,
        block_kv_compute=size,
        block_q_dkv=size,
        block_kv_dkv=size,
        block_kv_dkv_compute=size,
        block_q_dq=size,
        block_kv_dq=size,
    )

    def attend(q: Array, k: Array, v: Array, mask: Array) -> Array:
        # A mask of one head stands for all of them.
        kernel = splash.make_splash_mha(
            mask[None], block_sizes=blocks, head_shards=1, q_seq_shards=1, interpret=interpret
        )
        # JAX 0.10.2 asks this flag in Python after it has made an array of it, which a trace cannot answer.
        for name in ("fwd_mask_info", "dq_mask_info", "dkv_mask_info"):
            setattr(kernel, name, getattr(kernel, name)._replace(is_dynamic_mask=True))
        return kernel(q * q.shape[-1] ** -0.5, k, v)

    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    masks = jnp.broadcast_to(mask, (len(q), *mask.shape[1:]))
    return jax.vmap(attend)(q, k, v, masks).swapaxes(1, 2).astype(q.dtype)
