"""LLaMA (arXiv 2302.13971, 2307.09288): RMSNorm, rotary grouped-query attention, SwiGLU.

The trunk is written once and takes its attention as an argument, so that training, scoring, prefill
and decoding are the same code. Layers are unrolled: scanning over stacked layers made decoding ten
times slower on CPU (measured).

Kernels are stored ``[in, out]``; Hugging Face stores the transpose. Measured on XLA:CPU in float32,
``x @ W`` takes 0.5 to 1 times as long as ``x @ W.T`` for 8 to 1,024 rows; fusing gate and up gains nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from envisions_jax.models import rotary
from envisions_jax.models.attention import Attention
from envisions_jax.models.config import LlamaConfig

INIT_STDDEV = 0.02  # transformers' LlamaConfig.initializer_range


def _is_kept(primitive: jax.extend.core.Primitive, *_: Any, **__: Any) -> bool:
    """For the backward pass: all but weights that were made whole, which are gathered again."""
    return primitive.name != "all_gather"


class Linear(nnx.Module):
    """``x @ kernel (+ bias)``, computed in `dtype` whatever the parameters are stored in."""

    def __init__(
        self,
        size_in: int,
        size_out: int,
        *,
        bias: bool,
        rngs: nnx.Rngs,
        dtype: DTypeLike,
        param_dtype: DTypeLike,
    ) -> None:
        shape = (size_in, size_out)
        self.kernel = nnx.Param(INIT_STDDEV * jax.random.normal(rngs.params(), shape, param_dtype))
        self.bias = nnx.Param(jnp.zeros(size_out, param_dtype)) if bias else None
        self.adapter: Callable[[Array], Array] | None = None  # while it is trained so (`models.lora`)
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*n i"]) -> Float[Array, "*n o"]:
        # As a plain matrix: with [b, t, i] XLA:CPU copies a transpose for each weight gradient, and a
        # backward pass takes 1.3 times as long (measured).
        rows = x.reshape(-1, x.shape[-1])
        y = rows @ self.kernel[...].astype(self.dtype)
        if self.adapter is not None:
            y = y + self.adapter(rows)
        y = y.reshape(*x.shape[:-1], -1)
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)


class RMSNorm(nnx.Module):
    """Divides by the root mean square, in float32, then scales."""

    def __init__(self, size: int, *, eps: float, dtype: DTypeLike, param_dtype: DTypeLike) -> None:
        self.scale = nnx.Param(jnp.ones(size, param_dtype))
        self.eps = eps
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        x = x.astype(jnp.float32)
        x = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + self.eps)
        return (x * self.scale[...].astype(jnp.float32)).astype(self.dtype)


class SelfAttention(nnx.Module):
    """Projections and rotation around the attention that the caller brings."""

    def __init__(
        self, config: LlamaConfig, *, rngs: nnx.Rngs, dtype: DTypeLike, param_dtype: DTypeLike
    ) -> None:
        d, c = config.hidden_size, config.head_dim

        def linear(size_in: int, size_out: int) -> Linear:
            bias = config.attention_bias
            return Linear(size_in, size_out, bias=bias, rngs=rngs, dtype=dtype, param_dtype=param_dtype)

        self.query = linear(d, config.num_heads * c)
        self.key = linear(d, config.num_kv_heads * c)
        self.value = linear(d, config.num_kv_heads * c)
        self.output = linear(config.num_heads * c, d)
        self.head_dim = c

    def __call__(
        self, layer: int, x: Float[Array, "b t d"], turn: tuple[Array, Array], attention: Attention
    ) -> Float[Array, "b t d"]:
        heads = (*x.shape[:2], -1, self.head_dim)
        q = rotary.rotate(self.query(x).reshape(heads), *turn)
        k = rotary.rotate(self.key(x).reshape(heads), *turn)
        v = self.value(x).reshape(heads)
        return self.output(attention(layer, q, k, v).reshape(*x.shape[:2], -1))


class FeedForward(nnx.Module):
    """SwiGLU: ``down(silu(gate(x)) * up(x))``."""

    def __init__(
        self, config: LlamaConfig, *, rngs: nnx.Rngs, dtype: DTypeLike, param_dtype: DTypeLike
    ) -> None:
        def linear(size_in: int, size_out: int) -> Linear:
            bias = config.mlp_bias
            return Linear(size_in, size_out, bias=bias, rngs=rngs, dtype=dtype, param_dtype=param_dtype)

        self.gate = linear(config.hidden_size, config.intermediate_size)
        self.up = linear(config.hidden_size, config.intermediate_size)
        self.down = linear(config.intermediate_size, config.hidden_size)

    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


class Block(nnx.Module):
    """One layer: attention, then feed-forward, each normed before and added after."""

    def __init__(
        self, config: LlamaConfig, *, rngs: nnx.Rngs, dtype: DTypeLike, param_dtype: DTypeLike
    ) -> None:
        def norm() -> RMSNorm:
            return RMSNorm(config.hidden_size, eps=config.rms_norm_eps, dtype=dtype, param_dtype=param_dtype)

        self.attention_norm = norm()
        self.attention = SelfAttention(config, rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.feed_forward_norm = norm()
        self.feed_forward = FeedForward(config, rngs=rngs, dtype=dtype, param_dtype=param_dtype)

    def __call__(
        self, layer: int, x: Float[Array, "b t d"], turn: tuple[Array, Array], attention: Attention
    ) -> Float[Array, "b t d"]:
        x = x + self.attention(layer, self.attention_norm(x), turn, attention)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Llama(nnx.Module):
    """A whole model. Call it for hidden states, then `logits` where, and only where, logits are wanted."""

    def __init__(
        self,
        config: LlamaConfig,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
    ) -> None:
        """Random weights (normal, 0.02); `dtype` is computed in, `param_dtype` stored in."""
        table = (config.vocab_size, config.hidden_size)
        self.embedding = nnx.Param(INIT_STDDEV * jax.random.normal(rngs.params(), table, param_dtype))
        self.layers = nnx.List(
            Block(config, rngs=rngs, dtype=dtype, param_dtype=param_dtype) for _ in range(config.num_layers)
        )
        self.final_norm = RMSNorm(
            config.hidden_size, eps=config.rms_norm_eps, dtype=dtype, param_dtype=param_dtype
        )
        self.output_embedding = None
        if not config.tie_embeddings:
            values = INIT_STDDEV * jax.random.normal(rngs.params(), table, param_dtype)
            self.output_embedding = nnx.data(nnx.Param(values))
        self.config = config
        self.dtype = dtype

    @property
    def head(self) -> Float[Array, "v d"]:
        """The matrix that turns hidden states into logits: the embedding itself where tied."""
        return self.embedding[...] if self.output_embedding is None else self.output_embedding[...]

    def embed(self, tokens: Int[Array, "b t"]) -> Float[Array, "b t d"]:
        return jnp.take(self.embedding[...], tokens, axis=0).astype(self.dtype)

    def __call__(
        self,
        tokens: Int[Array, "b t"],
        positions: Int[Array, "b t"],
        attention: Attention,
        *,
        remat: bool = False,
        gather: Callable[[Block], Block] | None = None,
        scan: bool = False,
    ) -> Float[Array, "b t d"]:
        """Final-normed hidden states.

        Args:
          tokens: any padding is the caller's business: `attention` must not let real tokens see it.
          positions: of each token within its own sequence, from 0.
          attention: called once a layer, in order; may keep the keys and values it is given, but then
            not together with `remat`.
          remat: recompute each layer in the backward pass instead of storing its activations.
          gather: makes a layer's parameters whole just before it is used, and again in the backward pass; see
            `envisions_jax.parallel`.
          scan: compile one layer for all, with copies of their weights one behind the other; `attention` is
            then not told which layer asks. For compilers that take too long over many.
        """
        turn = rotary.angles(self.config, positions)
        x = self.embed(tokens)

        def step(layer: int, block: Block, x: Array) -> Array:
            def computed(x: Array) -> Array:
                return (gather(block) if gather else block)(layer, x, turn, attention)

            if remat or gather:
                computed = jax.checkpoint(computed, policy=None if remat else _is_kept)
            return computed(x)

        if scan:
            return self.final_norm(_scanned(list(self.layers), step, x, self.dtype))
        for layer, block in enumerate(self.layers):
            x = step(layer, block, x)
        return self.final_norm(x)

    def logits(self, hidden: Float[Array, "*n d"]) -> Float[Array, "*n v"]:
        """Logits in float32."""
        head = self.head.astype(self.dtype)
        return jnp.einsum("...d,vd->...v", hidden, head, preferred_element_type=jnp.float32)


def _scanned(
    layers: Sequence[Block], step: Callable[[int, Block, Array], Array], x: Array, dtype: DTypeLike
) -> Array:
    """One layer after the other by one program, with copies of their weights in the type they compute in."""
    graphdef = nnx.graphdef(layers[0])
    states = [nnx.state(block) for block in layers]

    def stack(*leaves: Array) -> Array:
        return jnp.stack([leaf.astype(dtype) if leaf.ndim > 1 else leaf for leaf in leaves])

    def one(x: Array, state: nnx.State) -> tuple[Array, None]:
        return step(0, nnx.merge(graphdef, state), x), None

    return jax.lax.scan(one, x, jax.tree.map(stack, *states))[0]


def abstract(
    config: LlamaConfig, *, dtype: DTypeLike = jnp.float32, param_dtype: DTypeLike = jnp.float32
) -> tuple[nnx.GraphDef[Llama], nnx.State]:
    """The model's structure and its parameters' shapes, with nothing allocated."""
    model = nnx.eval_shape(
        lambda: Llama(config, rngs=nnx.Rngs(params=0), dtype=dtype, param_dtype=param_dtype)
    )
    return nnx.split(model)
