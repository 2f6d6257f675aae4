"""LoRA (arXiv 2106.09685): the linear maps of all layers, each with a product of two thin matrices beside it.

    y = x W + (alpha / rank) (x A) B

Only A [in, rank] and B [rank, out] are trained, in float32; W stays as it is. What was trained is merged,
W + (alpha / rank) A B, and is then a policy like any other: sampling, evaluation and export know of none.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from envisions_jax.models.config import LlamaConfig
from envisions_jax.models.llama import Llama
from envisions_jax.models.weights import Path, flat


class Adapter(nnx.Module):
    """What a linear map gets added: ``scale * (x @ a) @ b``, computed in the type of x."""

    def __init__(self, a: nnx.Variable, b: nnx.Variable, scale: float) -> None:
        self.a = a
        self.b = b
        self.scale = scale

    def __call__(self, x: Float[Array, "n i"]) -> Float[Array, "n o"]:
        # Apart from the product with the weight, forward and backward: CUDA's compiler would join the two,
        # and copy the weight for it (4.2 instead of 1.0 GB of temporaries for a microbatch of LLaMA-2-7B).
        x = jax.lax.optimization_barrier(x)
        y = self.scale * (x @ self.a[...].astype(x.dtype)) @ self.b[...].astype(x.dtype)
        return jax.lax.optimization_barrier(y)


def largest_rank(config: LlamaConfig) -> int:
    """The smallest side of a linear map: adapters of a higher rank are more than the map itself."""
    return min(config.hidden_size, config.intermediate_size, config.num_kv_heads * config.head_dim)


def new_adapters(params: nnx.State, rank: int, key: jax.Array) -> nnx.State:
    """Adapters of all kernels of `params`, which may be shapes: A uniform in +-1/sqrt(in), B zero, as PEFT's.

    rank: from 1 to `largest_rank`.
    """
    kernels = [(path, variable.shape) for path, variable in flat(params) if path[-1] == "kernel"]
    # Drawn at once: hundreds of generators take long to compile.
    drawn = jax.random.uniform(key, (sum(size_in for _, (size_in, _) in kernels), rank), jnp.float32, -1, 1)
    adapters: Any = {}
    start = 0
    for path, (size_in, size_out) in kernels:
        a = drawn[start : start + size_in] / math.sqrt(size_in)
        start += size_in
        adapters[_beside(path, "a")] = nnx.LoRAParam(a)
        adapters[_beside(path, "b")] = nnx.LoRAParam(jnp.zeros((rank, size_out), jnp.float32))
    return nnx.from_flat_state(adapters)


def attach(model: Llama, adapters: nnx.State, scale: float) -> None:
    """Have the linear maps of `model` add what their adapters give."""
    own = dict(flat(adapters))
    for path in [path for path in own if path[-1] == "a"]:
        _, layer, part, name, *_ = path
        linear = getattr(getattr(model.layers[int(layer)], str(part)), str(name))
        linear.adapter = nnx.data(Adapter(own[path], own[(*path[:-1], "b")], scale))


def merge(params: nnx.State, adapters: nnx.State, scale: float) -> nnx.State:
    """Weights with their adapters added, summed up in float32, in the types of `params`."""
    own = dict(flat(adapters))

    def merged(path: Path, variable: nnx.Variable) -> nnx.Variable:
        if path[-1] != "kernel":
            return variable
        a, b = (own[_beside(path, matrix)][...] for matrix in ("a", "b"))
        whole = variable[...] + scale * jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
        return variable.replace(whole.astype(variable[...].dtype))

    weights: Any = {path: merged(path, variable) for path, variable in flat(params)}
    return nnx.from_flat_state(weights)


def _beside(kernel: Path, matrix: str) -> Path:
    """Where the adapter of the kernel at a path lies.

    >>> _beside(("layers", 3, "attention", "query", "kernel"), "a")
    ('layers', 3, 'attention', 'query', 'adapter', 'a')
    """
    return (*kernel[:-1], "adapter", matrix)
