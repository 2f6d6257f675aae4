"""Which attention kernel the devices of a layout have, and how it runs on them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array

from envisions_jax.models.flash import Kernel, flash_attention, kernel_for
from envisions_jax.parallel.layout import Layout, device_of

AttentionKernel = Callable[[Array, Array, Array, Array], Array]
"""Of queries, keys, values and a mask, as `models.flash.flash_attention`."""


def kernel_on(device: Any, dtype: DTypeLike, length: int, channels: int) -> Kernel:
    """What attends there in rows of `length` tokens, with heads of `channels`.

    cuDNN attends so on NVIDIA's GPUs from Ampere on (compute capability 8.0; AMD's are called "gfx90a").
    """
    if device.platform == "gpu" and _number(device.compute_capability) < 8:
        return "xla"
    return kernel_for(device.platform, dtype, length, channels)


def attention_kernel(
    layout: Layout | None, dtype: DTypeLike, length: int, channels: int
) -> AttentionKernel | None:
    """For rows of `length` tokens, within a lane; None where XLA's attention has to serve.

    Each device attends for the heads that it has: the compiler cannot divide a kernel.
    """
    kernel = kernel_on(device_of(layout), dtype, length, channels)
    if kernel == "xla":
        return None
    attend = functools.partial(flash_attention, kernel)
    if layout is None:
        return attend
    heads = PartitionSpec(None, None, "tensor")
    specs = (heads, heads, heads, PartitionSpec())
    return jax.shard_map(attend, in_specs=specs, out_specs=heads, axis_names={"tensor"}, check_vma=False)


def _number(capability: str) -> float:
    try:
        return float(capability)
    except ValueError:
        return 0.0
