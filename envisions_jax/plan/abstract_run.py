"""A run as a compiler sees it: its model, its mesh, and shapes in place of arrays.

Shapes are those of the longest prompts that the configuration allows, so that a run takes no more. Arguments
are shapes with their place on the mesh: nothing is allocated, and the devices need not be here.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from envisions_jax.config import Config
from envisions_jax.models.config import LlamaConfig
from envisions_jax.models.llama import abstract
from envisions_jax.parallel import Layout
from envisions_jax.parallel.layout import device_bytes
from envisions_jax.parallel.mesh import LANES
from envisions_jax.plan.work import Least
from envisions_jax.policy import Policy
from envisions_jax.sampling import decode
from envisions_jax.sampling.cache import Cache
from envisions_jax.sampling.shapes import StageShape, plan
from envisions_jax.sampling.stopping import build_stop_table
from envisions_jax.stages.learning import train_config
from envisions_jax.training.step import TrainStep

SHARED = 256  # tokens that all prompts of a stage begin with: the instruction


class AbstractRun:
    """A run of `config` with a model on a mesh of devices, each with `memory` bytes."""

    def __init__(self, config: Config, model: LlamaConfig, mesh: Mesh, memory: int) -> None:
        self.config, self.mesh = config, mesh
        self.layout = Layout(model, mesh)
        dtype = jnp.dtype(_compute_dtype(config, self.layout))
        graphdef, shapes = abstract(model, dtype=dtype, param_dtype=jnp.dtype(config.model.param_dtype))
        self.policy = Policy(model, graphdef, _placed(shapes, self.layout.shardings(shapes)), None, mesh)
        assert self.policy.layout is not None  # there is a mesh
        self.lanes_layout = self.policy.layout
        sampled = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype if leaf.ndim > 1 else leaf.dtype), shapes
        )
        self.sampled = _placed(sampled, self.lanes_layout.shardings(sampled))
        self.memory = memory
        self.least = Least(model, dtype.itemsize, mesh.shape["tensor"], self.layout.lanes)
        self.weights = device_bytes(self.policy.params)  # of one set, in parts
        # While sampling: theta_0, and the policy that a copy is made of.
        self.kept = self.weights if self.policy.samples_as_it_is else 2 * self.weights
        # Each host samples by itself, on its own devices.
        own = self.lanes_layout.mesh
        self.whole = NamedSharding(own, PartitionSpec())
        self.rows = self.lanes_layout.rows(2)

    @functools.cached_property
    def train_step(self) -> TrainStep:
        """As the run has it: one CPU has no mesh (`entry_points.open_policy`), and programs of its own."""
        is_one_cpu = self.mesh.size == 1 and self.mesh.devices.flat[0].platform == "cpu"
        return TrainStep(self.policy.graphdef, train_config(self.config), None if is_one_cpu else self.layout)

    @functools.cached_property
    def train_state(self) -> Any:
        """Shapes of the state, and of what is summed up in a step."""
        step = self.train_step
        begun = jax.eval_shape(step.start, self.policy.params, 0)
        return _placed((begun.state, begun.accumulated), step.shardings(self.layout))

    def shape(self, new: int, k: int) -> StageShape:
        """Of a stage with prompts as long as the context leaves them."""
        own = max(1, self.config.model.context - new - SHARED)
        return plan([[1] * SHARED + [2 + n] * own for n in range(2)], new, k)

    def prefix(self, shape: StageShape) -> Cache:
        """Keys and values of what all prompts of a stage begin with."""
        policy = self.policy
        rows = jax.eval_shape(lambda: decode.empty_cache(policy.config, 1, shape.prefix_length, policy.dtype))
        without = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), rows)
        return self.everywhere(without)

    def rule(self) -> decode.Rule:
        """How tokens are drawn, and what stops them."""
        table = build_stop_table([], (), self.policy.eos_ids or (0,), self.policy.config.vocab_size)
        return self.everywhere(
            decode.Rule(
                jax.ShapeDtypeStruct((), jnp.float32),  # type: ignore[arg-type]  # shapes stand for arrays
                jax.ShapeDtypeStruct((), jnp.float32),  # type: ignore[arg-type]
                jax.ShapeDtypeStruct(table.next_state.shape, jnp.int16),  # type: ignore[arg-type]
            )
        )

    def scalar(self, dtype: Any) -> Any:
        """A number that every device of this host has."""
        return jax.ShapeDtypeStruct((), dtype, sharding=self.whole)

    def everywhere(self, tree: Any) -> Any:
        """Arrays that every device of this host has."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.whole), tree
        )

    def on_lanes(self, parts: Any) -> Any:
        """What each lane has as large as `parts`, side by side."""
        return jax.tree.map(self.beside, parts)

    def of_all_lanes(self, parts: Any) -> Any:
        """As `on_lanes`, of the lanes of all hosts."""
        rows, lanes = NamedSharding(self.mesh, PartitionSpec(LANES)), self.layout.lanes

        def beside(part: Any) -> Any:
            shape = (lanes * part.shape[0], *part.shape[1:])
            return jax.ShapeDtypeStruct(shape, part.dtype, sharding=rows)

        return jax.tree.map(beside, parts)

    def beside(self, part: Any) -> Any:
        shape = (self.policy.lanes * part.shape[0], *part.shape[1:])
        return jax.ShapeDtypeStruct(shape, part.dtype, sharding=self.lanes_layout.rows(len(shape)))


def _placed(tree: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
        shardings,
    )


def _compute_dtype(config: Config, layout: Layout) -> str:
    if config.model.dtype != "auto":
        return config.model.dtype
    return "float32" if layout.mesh.devices.flat[0].platform == "cpu" else "bfloat16"
