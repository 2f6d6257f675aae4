"""Which attention kernel the devices of a layout have, and how it runs on them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
from jax.sharding import PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array

from envisions_jax.models.flash import flash_attention, kernel_for
from envisions_jax.parallel.layout import Layout, platform_of

AttentionKernel = Callable[[Array, Array, Array, Array], Array]
"""Of queries, keys, values and a mask, as `models.flash.flash_attention`."""


def attention_kernel(
    layout: Layout | None, dtype: DTypeLike, length: int, channels: int
) -> AttentionKernel | None:
    """For rows of `length` tokens, within a lane; None where XLA's attention has to serve.

    Each device attends for the heads that it has: the compiler cannot divide a kernel.
    """
    kernel = kernel_for(platform_of(layout), dtype, length, channels)
    if kernel == "xla":
        return None
    attend = functools.partial(flash_attention, kernel)
    if layout is None:
        return attend
    heads = PartitionSpec(None, None, "tensor")
    specs = (heads, heads, heads, PartitionSpec())
    return jax.shard_map(attend, in_specs=specs, out_specs=heads, axis_names={"tensor"}, check_vma=False)
