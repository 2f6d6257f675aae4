"""Every program of a run, ready to be compiled for devices that are not here, and the work it has to do."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from envisions_jax.budget import default_slots
from envisions_jax.parallel import Layout
from envisions_jax.parallel.layout import device_bytes, platform_of
from envisions_jax.plan.abstract_run import SHARED, AbstractRun
from envisions_jax.plan.work import Work
from envisions_jax.policy import whole_in_lanes
from envisions_jax.sampling import beam, decode, prefill, scorer
from envisions_jax.sampling.cache import Cache, form_of
from envisions_jax.sampling.lane import Lane
from envisions_jax.sampling.shapes import StageShape
from envisions_jax.training.config import longest_row
from envisions_jax.training.packing import blank, row_shapes, stacks
from envisions_jax.training.step import STACK


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


def training_programs(run: AbstractRun, factor: int = 1) -> Iterator[Program]:
    """Of steps whose microbatches have `factor` times the rows."""
    settings, step = run.config.train, run.train_step
    state, sums = run.train_state
    frozen = step.frozen(run.policy.params)
    # Moments are no arguments of a microbatch by itself, nor is theta_0 where all weights are trained.
    theta_0, moments = 0 if settings.lora_rank else run.weights, device_bytes(state.optimizer)
    everywhere = NamedSharding(run.mesh, PartitionSpec())
    rate = jax.ShapeDtypeStruct((), jnp.float32, sharding=everywhere)
    if factor == 1:
        seed = jax.ShapeDtypeStruct((), jnp.uint32, sharding=everywhere)
        yield Program(
            name="begin: weights, gradients and moments",
            stage="training",
            lower=lambda: step.start.lower(run.policy.params, seed),
            work=Work(bytes=run.weights + device_bytes((state, sums))),
            per="run",
            beside=0,
        )
    if factor == 1 and not step.loops:
        yield Program(
            name="update by AdamW",
            stage="training",
            lower=lambda: step.update.lower(state, sums, rate),
            work=Work(bytes=2 * device_bytes((state, sums))),
            per="run",
            beside=run.weights,
        )
    if factor == 1 and (settings.lora_rank or run.config.model.param_dtype != "float32"):
        yield Program(
            name="merge: weights of the next policy",
            stage="training",
            lower=lambda: step.merge.lower(run.policy.params, state.params),
            work=Work(bytes=2 * run.weights + device_bytes(state.params)),
            per="run",
            beside=device_bytes((state.optimizer, sums)),
        )
    length = longest_row(settings.row_length, platform_of(run.layout))
    for shape in row_shapes(factor * settings.rows, length, settings.max_length):
        if step.loops:
            [(stack, count)] = stacks([blank(shape)], STACK)
            lower = functools.partial(step.whole_step.lower, state, sums, frozen, stack, count, rate)
            name, then, beside = "microbatches", ", then update by AdamW", theta_0
        else:
            microbatch = run.of_all_lanes(blank(shape)._replace(num_targets=np.zeros(1, np.int32)))
            lower = functools.partial(step.accumulate.lower, sums, state.params, frozen, microbatch)
            name, then, beside = "microbatch", "", theta_0 + moments
        work = run.least.of_microbatch(
            shape,
            remat=settings.remat,
            trained=device_bytes(state.params),
            lora=settings.lora_rank > 0,
        )
        if step.loops:
            work = dataclasses.replace(work, bytes=work.bytes + 2 * device_bytes((state, sums)))
        yield Program(
            name=f"{name} of {shape.rows} x {shape.row_length}{then}",
            stage="training",
            lower=lower,
            work=work,
            per="run",
            beside=beside,
            units=shape.rows,
        )


def sampling_programs(run: AbstractRun) -> Iterator[Program]:
    """Exploring, refining, scoring and evaluating."""
    config, policy = run.config, run.policy
    if not policy.samples_as_it_is:
        yield Program(
            name="weights to sample with",
            stage="sampling",
            lower=lambda: whole_in_lanes.lower(
                Layout(policy.config, run.mesh, divided=False), policy.dtype, policy.params
            ),
            work=Work(bytes=run.weights + device_bytes(run.sampled)),
            per="run",
            beside=run.weights,
        )
    stages = [("explore", run.shape(config.sampler.max_new_tokens, config.sampler.k), 0)]
    if config.loop.refine:
        stages.append(("refine", run.shape(config.sampler.max_new_tokens, 1), 0))
    beams = config.eval.beams if config.eval.beams > 1 else 0
    stages.append(("evaluate", run.shape(config.eval.max_new_tokens, max(1, beams)), beams))
    seen: set[Any] = set()
    for name, shape, beams in stages:
        slots = config.sampler.slots or default_slots(policy, shape, run.memory)
        key = (shape, slots, beams)
        if key not in seen:
            seen.add(key)
            yield from _stage(run, name, shape, -(-slots // policy.lanes), beams)
    if config.loop.refine and config.loop.self_reward == "task_prompt":
        yield _scoring(run)


def _stage(run: AbstractRun, name: str, shape: StageShape, slots: int, beams: int) -> Iterator[Program]:
    policy, graphdef = run.policy, run.policy.graphdef
    prefix_length = run.scalar(jnp.int32)
    prefix = run.prefix(shape)
    if beams:
        yield from _beam_search(run, name, shape, slots, beams, prefix, prefix_length)
        return
    lane = Lane(shape, slots)
    form = form_of(run.lanes_layout)
    roots, empty = run.on_lanes(
        jax.eval_shape(lambda: decode.nobody(policy.config, policy.dtype, slots, shape, form=form))
    )
    last = np.zeros(shape.prefill_rows * shape.row_prompts, np.int32)
    rows = run.on_lanes([*[np.zeros((shape.prefill_rows, shape.row_length), np.int32)] * 3, last])
    given = (run.sampled, prefix, prefix_length)
    prefilled = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=run.rows),
        jax.eval_shape(functools.partial(prefill.prefill_trees, graphdef, run.lanes_layout), *given, *rows),
    )
    new_roots, rests, others = map(run.on_lanes, lane.arrivals([], _no_key))
    yield Program(
        name=f"{name}: prefill {shape.prefill_rows} x {shape.row_length}",
        stage="sampling",
        lower=lambda: prefill.prefill_trees.lower(graphdef, run.lanes_layout, *given, *rows),
        work=run.least.of_forward(shape.prefill_rows, shape.row_length, logits=len(last)),
        per="run",
        beside=run.kept + device_bytes((roots, empty)),
    )
    yield Program(
        name=f"{name}: decode in {slots} slots",
        stage="sampling",
        lower=lambda: decode.decode.lower(
            graphdef,
            run.lanes_layout,
            *given,
            run.rule(),
            roots,
            empty,
            decode.Arrivals(prefill.Places(*new_roots), prefill.Places(*rests), *others),
            prefilled,
            decode.Seating(*run.on_lanes(lane.seating())),
            run.on_lanes([np.zeros(1, np.int32)])[0],
        ),
        work=run.least.of_step(slots, shape, device_bytes((prefix, roots, empty.cache))),
        per="step",
        beside=run.kept,
        units=slots,
        fixed=device_bytes(given),
    )


def _beam_search(
    run: AbstractRun, name: str, shape: StageShape, slots: int, beams: int, prefix: Cache, length: Any
) -> Iterator[Program]:
    policy = run.policy
    rows = max(1, slots // beams)
    cache = run.on_lanes(
        jax.eval_shape(lambda: decode.empty_cache(policy.config, rows, shape.prompt_length, policy.dtype))
    )
    logits = run.beside(jax.ShapeDtypeStruct((rows, policy.config.vocab_size), jnp.float32))
    lengths = run.beside(jax.ShapeDtypeStruct((rows,), jnp.int32))
    yield Program(
        name=f"{name}: beam search of {rows} x {beams}",
        stage="sampling",
        lower=lambda: beam.search.lower(
            policy.graphdef,
            run.lanes_layout,
            run.sampled,
            prefix,
            length,
            run.rule().next_state,
            cache,
            logits,
            lengths,
            lengths,
            shape.new_length,
            beams,
            max(1, len(policy.eos_ids)),
        ),
        work=run.least.of_step(rows * beams, shape, device_bytes((prefix, cache))),
        per="step",
        beside=run.kept,
        units=rows * beams,
        fixed=device_bytes((run.sampled, prefix)),
    )


def _scoring(run: AbstractRun) -> Program:
    policy, config = run.policy, run.config
    new, k = config.sampler.max_new_tokens, config.sampler.k
    own = max(1, config.model.context - SHARED - 2 * new)
    prompts = [[1] * SHARED + [2 + n] * own for n in range(2)]
    length = scorer.plan_rows(prompts, [[[3 + n] * new for n in range(k)]] * 2, new)
    rows = max(1, scorer.SCORED_TOKENS // length)
    tokens = run.on_lanes([np.zeros((rows, length), np.int32)] * 3)
    at = run.on_lanes([np.zeros(rows * length, np.int32)] * 2)
    prefix = run.prefix(run.shape(new, k))
    return Program(
        name=f"score {rows} x {length}",
        stage="sampling",
        lower=lambda: scorer.score_rows.lower(
            policy.graphdef,
            run.lanes_layout,
            run.sampled,
            prefix,
            run.scalar(jnp.int32),
            *tokens,
            *at,
            *run.on_lanes([np.zeros(1, np.int32)]),
        ),
        work=run.least.of_forward(rows, length, logits=rows * length),
        per="run",
        beside=run.kept,
    )


def _no_key(_: Any) -> np.ndarray:
    raise AssertionError("nobody arrives in a plan")
