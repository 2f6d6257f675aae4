"""Every program of a run, ready to be compiled for devices that need not be here, and what it has to compute.

Shapes are those of the longest prompts that the configuration allows, so that a run takes no more. Arguments
are shapes with their place on the mesh: nothing is allocated.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from envisions_jax.budget import default_slots
from envisions_jax.config import Config
from envisions_jax.models.config import LlamaConfig
from envisions_jax.models.llama import abstract
from envisions_jax.parallel import Layout
from envisions_jax.parallel.layout import device_bytes
from envisions_jax.parallel.mesh import LANES
from envisions_jax.plan.work import Least, Work
from envisions_jax.policy import Policy, whole_in_lanes
from envisions_jax.sampling import beam, decode, prefill, scorer
from envisions_jax.sampling.cache import Cache, form_of
from envisions_jax.sampling.lane import Lane
from envisions_jax.sampling.shapes import StageShape, plan
from envisions_jax.sampling.stopping import build_stop_table
from envisions_jax.stages.learning import train_config
from envisions_jax.training.packing import blank, row_shapes
from envisions_jax.training.step import TrainStep

SHARED = 256  # tokens that all prompts of a stage begin with: the instruction


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """One program of a run."""

    name: str
    stage: str  # "training" or "sampling"
    lower: Callable[[], Any]
    work: Work
    per: str  # what `work` is of: "run", or a "step" of its loop
    beside: int  # bytes that a device holds meanwhile, and that are no arguments
    units: int = 0  # slots or rows of a lane, by which memory grows
    fixed: int = 0  # bytes of the arguments that do not grow with them


class Programs:
    """The programs of a run of `config` with a model on a mesh of devices, each with `memory` bytes."""

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

    # ---- Training ----------------------------------------------------------------------------------

    def training(self, factor: int = 1) -> Iterator[Program]:
        """Of steps whose microbatches have `factor` times the rows."""
        settings, step = self.config.train, self._train_step
        state, sums = self._train_state
        frozen = step.frozen(self.policy.params)
        # Moments are no arguments of a microbatch, nor is theta_0 where all weights are trained.
        kept = device_bytes(state.optimizer) + (0 if settings.lora_rank else self.weights)
        if factor == 1:
            everywhere = NamedSharding(self.mesh, PartitionSpec())
            rate = jax.ShapeDtypeStruct((), jnp.float32, sharding=everywhere)
            seed = jax.ShapeDtypeStruct((), jnp.uint32, sharding=everywhere)
            yield Program(
                name="begin: weights, gradients and moments",
                stage="training",
                lower=lambda: step.start.lower(self.policy.params, seed),
                work=Work(bytes=self.weights + device_bytes((state, sums))),
                per="run",
                beside=0,
            )
            yield Program(
                name="update by AdamW",
                stage="training",
                lower=lambda: step.update.lower(state, sums, rate),
                work=Work(bytes=2 * device_bytes((state, sums))),
                per="run",
                beside=self.weights,
            )
        for shape in row_shapes(factor * settings.rows, settings.row_length, settings.max_length):
            microbatch = self._of_all_lanes(blank(shape)._replace(num_targets=np.zeros(1, np.int32)))
            yield Program(
                name=f"microbatch of {shape.rows} x {shape.row_length}",
                stage="training",
                lower=functools.partial(step.accumulate.lower, sums, state.params, frozen, microbatch),
                work=self.least.of_microbatch(
                    shape,
                    remat=settings.remat,
                    trained=device_bytes(state.params),
                    lora=settings.lora_rank > 0,
                ),
                per="run",
                beside=kept,
                units=shape.rows,
            )

    @functools.cached_property
    def _train_step(self) -> TrainStep:
        return TrainStep(self.policy.graphdef, train_config(self.config), self.layout)

    @functools.cached_property
    def _train_state(self) -> Any:
        """Shapes of the state, and of what is summed up in a step."""
        step = self._train_step
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            jax.eval_shape(step.start, self.policy.params),
            step.shardings(self.layout),
        )

    # ---- Sampling ----------------------------------------------------------------------------------

    def sampling(self) -> Iterator[Program]:
        """Exploring, refining, scoring and evaluating."""
        config, policy = self.config, self.policy
        if not policy.samples_as_it_is:
            yield Program(
                name="weights to sample with",
                stage="sampling",
                lower=lambda: whole_in_lanes.lower(
                    Layout(policy.config, self.mesh, divided=False), policy.dtype, policy.params
                ),
                work=Work(bytes=self.weights + device_bytes(self.sampled)),
                per="run",
                beside=self.weights,
            )
        stages = [("explore", self._shape(config.sampler.max_new_tokens, config.sampler.k), 0)]
        if config.loop.refine:
            stages.append(("refine", self._shape(config.sampler.max_new_tokens, 1), 0))
        beams = config.eval.beams if config.eval.beams > 1 else 0
        stages.append(("evaluate", self._shape(config.eval.max_new_tokens, max(1, beams)), beams))
        seen: set[Any] = set()
        for name, shape, beams in stages:
            slots = config.sampler.slots or default_slots(policy, shape, self.memory)
            key = (shape, slots, beams)
            if key not in seen:
                seen.add(key)
                yield from self._stage(name, shape, -(-slots // policy.lanes), beams)
        if config.loop.refine and config.loop.self_reward == "task_prompt":
            yield self._scoring()

    def _stage(self, name: str, shape: StageShape, slots: int, beams: int) -> Iterator[Program]:
        policy, graphdef = self.policy, self.policy.graphdef
        prefix_length = self._scalar(jnp.int32)
        prefix = self._prefix(shape)
        if beams:
            yield from self._beam_search(name, shape, slots, beams, prefix, prefix_length)
            return
        lane = Lane(shape, slots)
        form = form_of(self.lanes_layout)
        roots, empty = self._on_lanes(
            jax.eval_shape(lambda: decode.nobody(policy.config, policy.dtype, slots, shape, form=form))
        )
        rows = self._on_lanes([np.zeros((shape.prefill_rows, shape.row_length), np.int32)] * 3)
        given = (self.sampled, prefix, prefix_length)
        prefilled = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.rows),
            jax.eval_shape(
                functools.partial(prefill.prefill_trees, graphdef, self.lanes_layout), *given, *rows
            ),
        )
        new_roots, rests, others = map(self._on_lanes, lane.arrivals([], _no_key))
        yield Program(
            name=f"{name}: prefill {shape.prefill_rows} x {shape.row_length}",
            stage="sampling",
            lower=lambda: prefill.prefill_trees.lower(graphdef, self.lanes_layout, *given, *rows),
            work=self.least.of_forward(shape.prefill_rows, shape.row_length, logits=0),
            per="run",
            beside=self.kept + device_bytes((roots, empty)),
        )
        yield Program(
            name=f"{name}: decode in {slots} slots",
            stage="sampling",
            lower=lambda: decode.decode.lower(
                graphdef,
                self.lanes_layout,
                *given,
                self._rule(),
                roots,
                empty,
                decode.Arrivals(prefill.Places(*new_roots), prefill.Places(*rests), *others),
                prefilled,
                decode.Seating(*self._on_lanes(lane.seating())),
                self._on_lanes([np.zeros(1, np.int32)])[0],
            ),
            work=self.least.of_step(slots, shape, device_bytes((prefix, roots, empty.cache))),
            per="step",
            beside=self.kept,
            units=slots,
            fixed=device_bytes(given),
        )

    def _beam_search(
        self, name: str, shape: StageShape, slots: int, beams: int, prefix: Cache, length: Any
    ) -> Iterator[Program]:
        policy = self.policy
        rows = max(1, slots // beams)
        cache = self._on_lanes(
            jax.eval_shape(lambda: decode.empty_cache(policy.config, rows, shape.prompt_length, policy.dtype))
        )
        logits = self._beside(jax.ShapeDtypeStruct((rows, policy.config.vocab_size), jnp.float32))
        lengths = self._beside(jax.ShapeDtypeStruct((rows,), jnp.int32))
        yield Program(
            name=f"{name}: beam search of {rows} x {beams}",
            stage="sampling",
            lower=lambda: beam.search.lower(
                policy.graphdef,
                self.lanes_layout,
                self.sampled,
                prefix,
                length,
                self._rule().next_state,
                cache,
                logits,
                lengths,
                lengths,
                shape.new_length,
                beams,
                max(1, len(policy.eos_ids)),
            ),
            work=self.least.of_step(rows * beams, shape, device_bytes((prefix, cache))),
            per="step",
            beside=self.kept,
            units=rows * beams,
            fixed=device_bytes((self.sampled, prefix)),
        )

    def _scoring(self) -> Program:
        policy, config = self.policy, self.config
        new, k = config.sampler.max_new_tokens, config.sampler.k
        own = max(1, config.model.context - SHARED - 2 * new)
        prompts = [[1] * SHARED + [2 + n] * own for n in range(2)]
        length = scorer.plan_rows(prompts, [[[3 + n] * new for n in range(k)]] * 2, new)
        rows = max(1, scorer.SCORED_TOKENS // length)
        tokens = self._on_lanes([np.zeros((rows, length), np.int32)] * 3)
        at = self._on_lanes([np.zeros(rows * length, np.int32)] * 2)
        prefix = self._prefix(self._shape(new, k))
        return Program(
            name=f"score {rows} x {length}",
            stage="sampling",
            lower=lambda: scorer.score_rows.lower(
                policy.graphdef,
                self.lanes_layout,
                self.sampled,
                prefix,
                self._scalar(jnp.int32),
                *tokens,
                *at,
                *self._on_lanes([np.zeros(1, np.int32)]),
            ),
            work=self.least.of_forward(rows, length, logits=rows * length),
            per="run",
            beside=self.kept,
        )

    # ---- Shapes ------------------------------------------------------------------------------------

    def _shape(self, new: int, k: int) -> StageShape:
        """Of a stage with prompts as long as the context leaves them."""
        own = max(1, self.config.model.context - new - SHARED)
        return plan([[1] * SHARED + [2 + n] * own for n in range(2)], new, k)

    def _prefix(self, shape: StageShape) -> Cache:
        policy = self.policy
        rows = jax.eval_shape(lambda: decode.empty_cache(policy.config, 1, shape.prefix_length, policy.dtype))
        without = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), rows)
        return self._everywhere(without)

    def _rule(self) -> decode.Rule:
        table = build_stop_table([], (), self.policy.eos_ids or (0,), self.policy.config.vocab_size)
        return self._everywhere(
            decode.Rule(
                jax.ShapeDtypeStruct((), jnp.float32),  # type: ignore[arg-type]  # shapes stand for arrays
                jax.ShapeDtypeStruct((), jnp.float32),  # type: ignore[arg-type]
                jax.ShapeDtypeStruct(table.next_state.shape, jnp.int16),  # type: ignore[arg-type]
            )
        )

    def _scalar(self, dtype: Any) -> Any:
        return jax.ShapeDtypeStruct((), dtype, sharding=self.whole)

    def _everywhere(self, tree: Any) -> Any:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.whole), tree
        )

    def _on_lanes(self, parts: Any) -> Any:
        """What each lane has as large as `parts`, side by side."""
        return jax.tree.map(self._beside, parts)

    def _of_all_lanes(self, parts: Any) -> Any:
        """As `_on_lanes`, of the lanes of all hosts."""
        rows, lanes = NamedSharding(self.mesh, PartitionSpec(LANES)), self.layout.lanes

        def beside(part: Any) -> Any:
            shape = (lanes * part.shape[0], *part.shape[1:])
            return jax.ShapeDtypeStruct(shape, part.dtype, sharding=rows)

        return jax.tree.map(beside, parts)

    def _beside(self, part: Any) -> Any:
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


def _no_key(_: Any) -> np.ndarray:
    raise AssertionError("nobody arrives in a plan")
