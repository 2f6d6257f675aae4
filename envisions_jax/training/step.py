"""The arrays side of training: the loss of a microbatch, gradient accumulation, one AdamW update.

Three programs are compiled: `start` runs once a training, `accumulate` once a microbatch, and `update` once a
step; the second once more for each further shape of a microbatch, of which `packing` makes few. On one CPU
`whole_step` does what the last two do, for up to `STACK` microbatches of one shape; `accumulate_stack` adds
up those before.
What is trained, gradients and moments are float32 whatever the compute type; buffers are donated, so that
they exist once. With LoRA adapters are trained, and the weights are only read. A fourth program, `merge`,
adds them up at the end, or rounds trained weights to the type that they are kept in.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Integer, UInt32

from envisions_jax.models import lora
from envisions_jax.models.attention import CausalAttention, branch_mask
from envisions_jax.models.llama import abstract
from envisions_jax.parallel.kernels import attention_kernel
from envisions_jax.parallel.layout import Layout, in_step, of_lanes, platform_of
from envisions_jax.parallel.mesh import LANES
from envisions_jax.training.config import TrainConfig
from envisions_jax.training.examples import KINDS
from envisions_jax.training.losses import chunked_cross_entropy
from envisions_jax.training.packing import AnyArray, Microbatch, stacks

SMALL = 65_536
"""Numbers of an array that is read as it is to tell weights apart: all norms, no matrix of a real model."""

STACK = 8
"""Microbatches that one call of `whole_step` or `accumulate_stack` has room for: fewer take less."""

# Else their compiler makes an all-reduce, twice the bytes, of a reduce-scatter over several axes of a torus
# (seen with libtpu 0.0.42 for v5p:2x2x2, v5p:4x4x4, v5e:4x4 and v6e:4x4, not for v5p:2x2x1).
FOR_TPUS = {"xla_tpu_enable_sparse_core_collective_offload_nd_reduce_scatter": True}


class TrainState(NamedTuple):
    """What training changes, and a checkpoint holds: f32 weights, or adapters, and AdamW's moments."""

    params: Any
    optimizer: Any


class Accumulated(NamedTuple):
    """Sums over the microbatches of a step.

    Where none is `added` yet, the first microbatch takes their place. (Zeros that `update` wrote were copied
    into each array, and the gradients that they replaced out of it: a third of its time.)
    """

    grads: Any
    kinds: Float[Array, " kinds"]  # share of each of KINDS in the step's loss; they add up to it
    added: Integer[Array, ""]  # microbatches so far


class Begun(NamedTuple):
    """What a training begins with."""

    state: TrainState
    accumulated: Accumulated
    sums: UInt32[Array, " large"]  # of the bits of each array of more than `SMALL` numbers that was given


def microbatch_loss(
    graphdef: Any,
    params: Any,
    microbatch: Microbatch,
    *,
    adapters: nnx.State | None = None,
    scale: float = 1.0,
    remat: bool = False,
    layout: Layout | None = None,
) -> tuple[Float[Array, ""], Float[Array, " kinds"]]:
    """(Σ weights · -log π(target), the same sum for each of KINDS); logits exist at target positions only.

    With a `layout` it is that of one lane, within `jax.shard_map`.

    adapters: beside the weights, times `scale` (`models.lora`).
    """
    model = nnx.merge(graphdef, params)
    gather, visited = None, in_step(layout, jnp.asarray(microbatch.num_targets).reshape(()))
    if layout is not None:
        gather = functools.partial(layout.gather, dtype=model.dtype)
        model = nnx.merge(graphdef, layout.gather_ends(params, model.dtype))
    if adapters is not None:
        lora.attach(model, adapters, scale)
    microbatch = Microbatch(*(jnp.asarray(array) for array in microbatch))
    mask = branch_mask(microbatch.ends)
    kernel = attention_kernel(layout, model.dtype, mask.shape[-1], model.config.head_dim)
    attention = CausalAttention(mask, kernel)
    scan = platform_of(layout) == "tpu"  # whose compiler takes minutes for each layer
    hidden = model(microbatch.tokens, microbatch.positions, attention, remat=remat, gather=gather, scan=scan)
    at_targets = hidden.reshape(-1, hidden.shape[-1])[microbatch.target_index]
    loss, nll = chunked_cross_entropy(
        at_targets, model.head, microbatch.target_ids, microbatch.target_weights, visited
    )
    of_kind = microbatch.target_kinds == jnp.arange(len(KINDS))[:, None]
    return loss, jnp.sum(of_kind * microbatch.target_weights * nll, axis=1)


class TrainStep:
    """The compiled programs of one architecture and one `TrainConfig`, on a mesh if there is a layout."""

    def __init__(self, graphdef: Any, config: TrainConfig, layout: Layout | None = None) -> None:
        self._graphdef = graphdef
        self._config = config
        self._layout = layout
        self.loops = layout is None and platform_of(layout) == "cpu"  # as `one_step` says
        self._optimizer = optax.chain(
            clip_by_global_norm(config.clip_norm),
            optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8),
            optax.add_decayed_weights(config.weight_decay),
        )
        accumulate, state, accumulated, whole, weights = self._accumulate, None, None, None, None
        if layout is not None:
            whole = NamedSharding(layout.mesh, PartitionSpec())
            state, accumulated = self.shardings(layout)
            weights = layout.shardings(abstract(layout.config)[1])
            sums, params, frozen = (
                jax.tree.map(of_lanes, tree) for tree in (accumulated, state.params, self.frozen(weights))
            )
            rows = Microbatch(*(PartitionSpec(LANES) for _ in Microbatch._fields))
            accumulate = jax.shard_map(
                accumulate,
                mesh=layout.mesh,
                in_specs=(sums, params, frozen, rows),
                out_specs=sums,
                axis_names=set(LANES),
                check_vma=False,
            )
        # Any: the number of compiled variants is not part of jit's declared type.
        # Weights stay arguments even where none is read (LoRA, nothing large): what is made is then committed
        # to their device, as what `update` makes, and `accumulate` is compiled once.
        begun = Begun._make((state, accumulated, whole))
        self.start: Any = jax.jit(self._start, keep_unused=True, out_shardings=begun)
        self.merge: Any = jax.jit(self._merge, out_shardings=weights)
        self.accumulate: Any = jax.jit(
            accumulate,
            donate_argnums=0,
            compiler_options=FOR_TPUS if platform_of(layout) == "tpu" else None,
        )
        self.accumulate_stack: Any = jax.jit(self._accumulate_stack, donate_argnums=0)
        self.whole_step: Any = jax.jit(self._whole_step, donate_argnums=(0, 1))
        self.update: Any = jax.jit(
            self._update, donate_argnums=(0, 1), out_shardings=(state, accumulated, whole, whole)
        )

    @property
    def compiled(self) -> int:
        """Programs compiled so far."""
        programs = (self.start, self.accumulate, self.accumulate_stack, self.whole_step, self.update)
        return sum(program._cache_size() for program in (*programs, self.merge))

    def one_step(
        self,
        state: TrainState,
        accumulated: Accumulated,
        frozen: Any,
        microbatches: Sequence[Microbatch],
        rate: Float[AnyArray, ""],
    ) -> tuple[TrainState, Accumulated, Float[Array, ""], Float[Array, " kinds"]]:
        """One optimiser step on all `microbatches`: what `_update` gives. State and sums are given up.

        A program runs for each microbatch, on a mesh on rows of all lanes, and one for the update. On one CPU
        one does it all, or the last `STACK` of a shape and the update, so that what a microbatch needs
        meanwhile is allocated once: XLA:CPU takes it from the system for each program that runs and gives it
        back, and a virtual machine's host may take it away before the next one wants it.
        """
        if not self.loops:
            accumulated = self.accumulate_all(accumulated, state.params, frozen, microbatches)
            return self.update(state, accumulated, rate)
        # Rows of the usual shape come last: whatever is before them, the same program ends the step.
        *first, (stack, count) = stacks(microbatches[::-1], STACK)
        for others, number in first:
            accumulated = self.accumulate_stack(accumulated, state.params, frozen, others, number)
        return self.whole_step(state, accumulated, frozen, stack, count, rate)

    def accumulate_all(
        self, so_far: Accumulated, params: Any, frozen: Any, microbatches: Sequence[Microbatch]
    ) -> Accumulated:
        """Adds the gradients of all `microbatches`, in their order; `so_far` is given up."""
        if self.loops:
            for stack, count in stacks(microbatches, STACK):
                so_far = self.accumulate_stack(so_far, params, frozen, stack, count)
            return so_far
        for microbatch in microbatches:
            so_far = self.accumulate(so_far, params, frozen, microbatch)
        return so_far

    def frozen(self, params0: Any) -> Any:
        """What `accumulate` reads beside what is trained: all weights with LoRA, else nothing."""
        return params0 if self._config.lora_rank else ()

    def finish(self, state: TrainState, params0: Any) -> Any:
        """What has become of `params0`, in its types."""
        are_kept = all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params0))
        if are_kept and not self._config.lora_rank:
            return state.params
        return self.merge(params0, state.params)

    def shardings(self, layout: Layout) -> tuple[Any, Any]:
        """Of the state and of the sums: moments and gradients lie as the weights they are of."""
        whole = NamedSharding(layout.mesh, PartitionSpec())
        shapes = jax.eval_shape(self._trained, abstract(layout.config)[1], 0)
        params = layout.shardings(shapes)
        moments = optax.tree_utils.tree_map_params(
            self._optimizer,
            lambda _, sharding: sharding,
            jax.eval_shape(self._optimizer.init, shapes),
            params,
            transform_non_params=lambda _: whole,
        )
        return TrainState(params, moments), Accumulated._make((params, whole, whole))

    def _trained(self, params0: Any, seed: Integer[Array, ""] | int) -> Any:
        """A copy of `params0`, since the state is donated later and `params0` never; or new adapters."""
        if self._config.lora_rank:
            return lora.new_adapters(params0, self._config.lora_rank, jax.random.key(seed))
        return jax.tree.map(lambda p: jnp.array(p, jnp.float32, copy=True), params0)

    def _start(self, params0: Any, seed: Integer[Array, ""] | int) -> Begun:
        """State before the first step."""
        params = self._trained(params0, seed)
        zeros = jax.tree.map(jnp.zeros_like, params)
        nothing = Accumulated(zeros, jnp.zeros(len(KINDS), jnp.float32), jnp.int32(0))
        return Begun(TrainState(params, self._optimizer.init(params)), nothing, _sums(params0))

    def _accumulate(
        self, so_far: Accumulated, params: Any, frozen: Any, microbatch: Microbatch
    ) -> Accumulated:
        config = self._config

        def loss(params: Any) -> tuple[Array, Array]:
            of = functools.partial(microbatch_loss, self._graphdef, remat=config.remat, layout=self._layout)
            if config.lora_rank:
                return of(frozen, microbatch, adapters=params, scale=config.lora_scale)
            return of(params, microbatch)

        grads, kinds = jax.grad(loss, has_aux=True)(params)
        if self._layout is not None:
            kinds = jax.lax.psum(kinds, LANES)

        def plus(sums: Array, new: Array) -> Array:
            return jnp.where(so_far.added == 0, new, sums + new)

        grads = jax.tree.map(plus, so_far.grads, grads)
        return Accumulated(grads, plus(so_far.kinds, kinds), so_far.added + 1)

    def _accumulate_stack(
        self, so_far: Accumulated, params: Any, frozen: Any, stack: Microbatch, count: Integer[Array, ""]
    ) -> Accumulated:
        """Of the first `count` microbatches along the stack's first axis."""

        def one_more(i: Array, so_far: Accumulated) -> Accumulated:
            return self._accumulate(so_far, params, frozen, jax.tree.map(lambda arrays: arrays[i], stack))

        return jax.lax.fori_loop(0, count, one_more, so_far)

    def _whole_step(
        self,
        state: TrainState,
        accumulated: Accumulated,
        frozen: Any,
        stack: Microbatch,
        count: Integer[Array, ""],
        rate: Float[Array, ""],
    ) -> tuple[TrainState, Accumulated, Float[Array, ""], Float[Array, " kinds"]]:
        accumulated = self._accumulate_stack(accumulated, state.params, frozen, stack, count)
        return self._update(state, accumulated, rate)

    def _merge(self, params0: Any, trained: Any) -> Any:
        """Weights in the types of `params0`."""
        if self._config.lora_rank:
            return lora.merge(params0, trained, self._config.lora_scale)
        return jax.tree.map(lambda new, old: new.astype(old.dtype), trained, params0)

    def _update(
        self, state: TrainState, accumulated: Accumulated, rate: Float[Array, ""]
    ) -> tuple[TrainState, Accumulated, Float[Array, ""], Float[Array, " kinds"]]:
        """One clipped AdamW step: (new state, sums to begin anew, norm before clipping, loss by kind).

        Of at least one microbatch: where none was added, the sums are those of the step before.
        """
        norm = optax.tree.norm(accumulated.grads)
        directions, optimizer = self._optimizer.update(accumulated.grads, state.optimizer, state.params)
        params = jax.tree.map(lambda p, direction: p - rate * direction, state.params, directions)
        anew = accumulated._replace(added=jnp.zeros_like(accumulated.added))
        return TrainState(params, optimizer), anew, norm, accumulated.kinds


def clip_by_global_norm(most: float) -> optax.GradientTransformation:
    """As optax's, in one product for each number: its division XLA:CPU computes apart, and writes out."""

    def clipped(grads: Any, params: Any = None) -> Any:
        scale = jnp.minimum(1.0, most / optax.tree.norm(grads))
        return jax.tree.map(lambda grad: grad * scale, grads)

    return optax.stateless(clipped)


def _sums(params: Any) -> UInt32[Array, " large"]:
    """Of the bits of each large array, modulo 2^32: exact in whatever order, so on every mesh."""
    large = [leaf for leaf in jax.tree.leaves(params) if leaf.size > SMALL]
    bits = {2: jnp.uint16, 4: jnp.uint32}
    sums = [
        jnp.sum(jax.lax.bitcast_convert_type(leaf, bits[leaf.dtype.itemsize]), dtype=jnp.uint32)
        for leaf in large
    ]
    return jnp.stack(sums) if sums else jnp.zeros(0, jnp.uint32)
