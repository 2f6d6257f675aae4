"""What a run will take of the device's memory, reckoned before anything of it is taken; slots chosen from it.

Sampling holds theta_0, the policy, and the keys and values of what is being decoded; where those weights lie
in parts on a mesh, or are of another type than is computed in, also a copy to sample with. Training holds
theta_0, the weights it changes (or LoRA's adapters), their gradients and two moments, and the activations of
one microbatch. Checked in the tests against XLA's own account of the compiled programs on one device;
`envisions_jax.plan` has that account for accelerators.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import jax
from flax import nnx

from envisions_jax.config import TrainConfig
from envisions_jax.models.config import LlamaConfig
from envisions_jax.models.lora import new_adapters
from envisions_jax.models.weights import flat
from envisions_jax.parallel.kernels import kernel_on
from envisions_jax.parallel.layout import Layout, device_bytes, device_of
from envisions_jax.sampling.shapes import StageShape, moved_slots
from envisions_jax.training.config import longest_row
from envs.memory import memory_mib

if TYPE_CHECKING:
    from envisions_jax.policy import Policy

# Candidates decoded side by side where memory allows. XLA:CPU: the products of a token of SmolLM2 take 2.2 ms
# in 40 slots, 1.7 in 80 and 1.6 in 160. Accelerators: about where products no longer wait for weights (A100:
# 312 TFLOP/s beside 2 TB/s).
SLOTS = {"cpu": 128}
SLOTS_OF_ACCELERATORS = 160
SHARE = 0.8  # of the memory; the rest is for programs, temporaries and whatever else there is
FLOAT32 = 4  # bytes: gradients, moments, scores
GIB = 2**30
ADVICE = (
    "start anew with fewer sampler.slots or train.rows, shorter rows (train.row_length=256), "
    "train.remat=True, train.lora_rank or, where bfloat16 is computed in, model.param_dtype='bfloat16'"
)


@dataclasses.dataclass(frozen=True)
class Budget:
    """Bytes on each device, at most."""

    weights: int  # one set, or its part
    sampled: int  # the copy that is sampled with, if one is made
    caches: int  # keys and values while sampling
    training: int  # weights that change, gradients and moments
    activations: int  # of a microbatch
    slots: int  # of all lanes together
    memory: int  # of the device
    is_divided: bool  # over several devices

    @property
    def peak(self) -> int:
        """Of sampling or training, whichever takes more."""
        return max(
            2 * self.weights + self.sampled + self.caches, self.weights + self.training + self.activations
        )

    @property
    def told(self) -> str:
        """One line for whoever starts a run."""
        sizes = (self.weights, self.sampled, self.caches, self.training, self.activations, self.peak)
        weights, sampled, caches, training, activations, peak = (f"{size / GIB:.1f}" for size in sizes)
        whole = f" + {sampled}" if self.sampled else ""
        where = " of each device" if self.is_divided else ""
        told = (
            f"memory{where}: arrays take about {peak} of {self.memory / GIB:.1f} GiB, libraries and "
            f"programs come on top. Sampling: {weights} + {weights}{whole} of weights, {caches} of "
            f"keys and values of {self.slots} candidates. Training: {weights} + {training} of weights, "
            f"gradients and moments, {activations} of activations"
        )
        if self.peak > self.memory:
            told += f". That is more than there is: {ADVICE}"
        return told


def budget(policy: Policy, shape: StageShape, slots: int, train: TrainConfig) -> Budget:
    """Of a run that samples stages of `shape`, and trains so in each lane."""
    return Budget(
        weights=device_bytes(policy.params),
        sampled=_sampled_bytes(policy),
        caches=_caches(policy, shape, -(-slots // policy.lanes)),
        training=4 * _trained(policy, train.lora_rank) * FLOAT32,
        activations=activation_bytes(
            policy,
            train.rows,
            longest_row(train.row_length, policy.platform),
            lora_rank=train.lora_rank,
            remat=train.remat,
        ),
        slots=slots,
        memory=device_memory(),
        is_divided=policy.mesh is not None,
    )


def default_slots(policy: Policy, shape: StageShape, memory: int | None = None) -> int:
    """As many as are worth it in each lane, or as their keys and values have room beside the weights; at
    least 2.

    memory: of a device, by default of those that are here.

    It depends on the machine, not on what is free at the moment: a run that goes on samples as before.
    """
    whole = device_memory() if memory is None else memory
    room = SHARE * whole - 2 * device_bytes(policy.params) - _sampled_bytes(policy)
    most = SLOTS.get(policy.platform, SLOTS_OF_ACCELERATORS)
    some = (*range(most, 8, -8), 8, 4)
    return policy.lanes * next((slots for slots in some if _caches(policy, shape, slots) <= room), 2)


def activation_bytes(
    policy: Policy, rows: int, row_length: int, *, lora_rank: int = 0, remat: bool = False
) -> int:
    """Of a microbatch, and of its gradients on their way to those of the step; on a mesh, what is made whole.

    remat: layers are recomputed, and only what goes into each is kept. XLA:CPU does not: it joins what was
      to be computed twice.

    What is kept of a layer follows the program that XLA:CPU makes of SmolLM2's training step: within 10 % of
    its 2.0 GiB for 4 x 256 tokens, 4.1 for 4 x 512 and 4.8 for 2 x 1,024. On meshes, beside
    docs/scaling.md: 3.1 GiB for the 2.4 of LLaMA-2-7B on 8 A100s, 12.5 for the 11.6 on 4 TPUs; of 13B 4.3 for
    3.1, and 22.4 for 21.5.
    """
    config = policy.config
    wide = 8 * config.hidden_size + 6 * config.intermediate_size
    scores = config.num_heads * row_length * 5 // 8  # in four blocks of queries (`models.attention`)
    if kernel_on(device_of(policy.layout), policy.dtype, row_length, config.head_dim) != "xla":
        scores = config.num_heads  # their sums alone
    a_layer = wide * policy.dtype.itemsize + scores * FLOAT32
    a_token = config.num_layers * a_layer
    recomputes = remat and policy.platform != "cpu"
    if recomputes:
        a_token = config.num_layers * config.hidden_size * policy.dtype.itemsize + a_layer
    activations = rows * row_length * a_token
    if policy.mesh is not None:
        return activations + _gathered_bytes(policy, has_gradients=not lora_rank)
    if lora_rank and not recomputes:
        activations += _sampled_bytes(policy)  # as large: what is computed with waits for the backward pass
    return activations + _trained(policy, lora_rank) * FLOAT32 // 2


def _gathered_bytes(policy: Policy, *, has_gradients: bool) -> int:
    """Embeddings and a layer made whole, and their gradients before they are scattered.

    TPUs, whose program has one layer for all, also copy the parts of all: to go forward, backward, and as
    gradients.
    """
    assert policy.mesh is not None
    whole = Layout(policy.config, policy.mesh, divided=False)
    sizes = {
        path: math.prod(whole.sharding(path).shard_shape(leaf.shape)) for path, leaf in flat(policy.params)
    }
    ends = {path[0]: size for path, size in sizes.items() if path[0] != "layers"}
    layer = sum(size for path, size in sizes.items() if path[:2] == ("layers", 0))
    gathered = (1 + has_gradients) * (sum(ends.values()) + layer) * policy.dtype.itemsize
    if has_gradients:  # summed up over the chunks of the loss
        gathered += ends.get("output_embedding", ends["embedding"]) * FLOAT32
    if policy.platform == "tpu":
        copies = 1 + 2 * has_gradients
        gathered += copies * _count(policy.params, Layout(policy.config, policy.mesh)) * policy.dtype.itemsize
    return gathered


def cache_bytes(
    config: LlamaConfig, shape: StageShape, slots: int, itemsize: int, platform: str = "cpu"
) -> int:
    """Keys and values of the prefix, the roots, all slots, and those that the last candidates move to."""
    own = slots * (shape.rest_length + shape.new_length)
    moved = sum(moved_slots(slots, platform)) * (shape.prompt_length + shape.new_length)
    tokens = shape.prefix_length + shape.roots(slots) * shape.root_length + own + moved
    return 2 * tokens * config.num_layers * config.num_kv_heads * config.head_dim * itemsize


def device_memory() -> int:
    """Bytes of one device; of the machine, or this process's share of it, where that is the device."""
    device = jax.local_devices()[0]
    statistics = device.memory_stats() if device.platform != "cpu" else None
    return int((statistics or {}).get("bytes_limit", (memory_mib() << 20) // jax.local_device_count()))


def _caches(policy: Policy, shape: StageShape, slots: int) -> int:
    """Of the slots of one lane, on each of its devices."""
    tensor = 1 if policy.mesh is None else policy.mesh.shape["tensor"]
    return cache_bytes(policy.config, shape, slots, policy.dtype.itemsize, policy.platform) // tensor


def _trained(policy: Policy, lora_rank: int) -> int:
    """Parameters on each device that training changes."""
    layout = None if policy.mesh is None else Layout(policy.config, policy.mesh)
    if not lora_rank:
        return _count(policy.params, layout)
    return _count(jax.eval_shape(lambda: new_adapters(policy.params, lora_rank, jax.random.key(0))), layout)


def _sampled_bytes(policy: Policy) -> int:
    """The copy that is sampled with: whole in every lane, in the type that it computes in."""
    if policy.samples_as_it_is:
        return 0
    return _count(policy.params, policy.layout) * policy.dtype.itemsize


def _count(params: nnx.State, layout: Layout | None) -> int:
    """Parameters on each device that has its part of them."""
    if layout is None:
        return sum(math.prod(variable.shape) for _, variable in flat(params))
    shapes = (layout.sharding(path).shard_shape(variable.shape) for path, variable in flat(params))
    return sum(map(math.prod, shapes))
