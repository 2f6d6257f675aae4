"""Training on a mesh of eight devices beside training on one."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from envisions_jax import Policy
from envisions_jax.parallel import Layout, MeshConfig, make_mesh
from envisions_jax.testing import tiny_policy
from envisions_jax.training import Example, StepStats, TrainConfig, Trainer
from envisions_jax.training.packing import pack, row_shapes, side_by_side
from envisions_jax.training.step import TrainStep

MESHES = [MeshConfig(), MeshConfig(data=2), MeshConfig(data=8, fsdp=1), MeshConfig(data=2, tensor=2)]
EXAMPLES = [Example([5 + n, *range(20 + n % 9)], [7, 8, 9 + n], "L1" if n % 2 else "L2") for n in range(23)]
CONFIG = TrainConfig(rows=1, row_length=32, max_length=64, batch_size=len(EXAMPLES))
SHAPES = row_shapes(CONFIG.rows, CONFIG.row_length, CONFIG.max_length)
SETTINGS: dict[str, Any] = {"vocab_size": 268, "attention_bias": True, "num_layers": 3}


def layout_of(policy: Policy, mesh: MeshConfig) -> Layout:
    return Layout(policy.config, make_mesh(mesh))


def trained(policy: Policy, layout: Layout | None, config: TrainConfig = CONFIG) -> tuple[Any, ...]:
    """State, sums, gradient norm and loss by kind after three steps."""
    step = TrainStep(policy.graphdef, config, layout)
    params = policy.params
    if layout is not None:
        params = jax.device_put(params, layout.shardings(params))
    state, sums, _ = step.start(params, 0)
    if config.lora_rank:  # a B that is not zero, so that A has a gradient
        adapters = jax.tree.map(lambda x: np.full(x.shape, 0.01, x.dtype) + x, state.params)
        state = state._replace(params=jax.device_put(adapters, jax.tree.map(_sharding, state.params)))
    frozen = step.frozen(params)
    microbatches = side_by_side(pack(EXAMPLES, SHAPES), 1 if layout is None else layout.lanes)
    for _ in range(3):
        sums = step.accumulate_all(sums, state.params, frozen, microbatches)
        state, sums, norm, kinds = step.update(state, sums, np.float32(1e-3))
    assert step.compiled == 3 + (len({microbatch.tokens.shape for microbatch in microbatches}) - 1)
    return state, sums, norm, kinds


def _sharding(leaf: jax.Array) -> Any:
    return leaf.sharding


def largest_difference(a: Any, b: Any) -> float:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in pairs)


@pytest.mark.parametrize("mesh", MESHES, ids=str)
@pytest.mark.parametrize("remat", [False, True])
def test_steps_equal_those_of_one_device(mesh: MeshConfig, remat: bool) -> None:
    policy = tiny_policy(**SETTINGS)
    config = TrainConfig(rows=1, row_length=32, max_length=64, batch_size=23, remat=remat)
    alone, together = trained(policy, None), trained(policy, layout_of(policy, mesh), config)
    assert largest_difference(alone, together) <= 1e-5


@pytest.mark.parametrize("mesh", MESHES, ids=str)
def test_lora_equals_that_of_one_device(mesh: MeshConfig) -> None:
    policy = tiny_policy(**SETTINGS)
    layout = layout_of(policy, mesh)
    config = dataclasses.replace(CONFIG, lora_rank=4)
    alone, together = trained(policy, None, config), trained(policy, layout, config)
    assert largest_difference(alone, together) <= 1e-5
    step = TrainStep(policy.graphdef, config, layout)
    params = jax.device_put(policy.params, layout.shardings(policy.params))
    merged = step.finish(together[0], params)
    whole = TrainStep(policy.graphdef, config).finish(alone[0], policy.params)
    assert largest_difference(whole, merged) <= 1e-5
    assert largest_difference(whole, policy.params) > 1e-4
    for leaf, before in zip(jax.tree.leaves(merged), jax.tree.leaves(params), strict=True):
        assert leaf.sharding.is_equivalent_to(before.sharding, leaf.ndim)


def test_a_training_of_adapters_on_a_mesh_goes_on_and_compiles_nothing_twice(tmp_path: Path) -> None:
    policy = tiny_policy(**SETTINGS)
    layout = layout_of(policy, MeshConfig(data=2, tensor=2))
    config = dataclasses.replace(
        CONFIG, lora_rank=4, learning_rate=1e-3, batch_size=8, max_length=32, checkpoint_every_steps=1
    )
    examples = [Example([5 + n, *range(9)], [7, 8, 9 + n], "L1") for n in range(24)]
    alone, _ = Trainer(policy, config).train(policy.params, examples, seed=3)
    trainer = Trainer(policy, config, layout)
    params = jax.device_put(policy.params, layout.shardings(policy.params))
    together, stats = trainer.train(params, examples, seed=3)
    assert largest_difference(alone, together) <= 1e-5
    assert largest_difference(alone, policy.params) > 1e-4

    def interrupt(stats: StepStats) -> None:
        if stats.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.train(params, examples, seed=3, checkpoint_dir=tmp_path, on_step=interrupt)
    resumed, stats = trainer.train(params, examples, seed=3, checkpoint_dir=tmp_path)
    assert stats.resumed_from == 1
    assert largest_difference(together, resumed) == 0.0
    assert trainer.compiled == 4


@pytest.mark.parametrize("mesh", MESHES, ids=str)
def test_weights_gradients_and_moments_lie_in_parts(mesh: MeshConfig) -> None:
    policy = tiny_policy(**SETTINGS)
    layout = layout_of(policy, mesh)
    state, sums, _, _ = trained(policy, layout)
    for tree in (state.params, sums.grads, state.optimizer[1].mu, state.optimizer[1].nu):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            shares = {shard.data.size / leaf.size for shard in leaf.addressable_shards}
            parts = layout.mesh.shape["fsdp"] * (layout.mesh.shape["tensor"] if leaf.ndim > 1 else 1)
            if "bias" in jax.tree_util.keystr(path):
                assert len(shares) == 1
            else:
                assert shares == {1 / parts}


@pytest.mark.parametrize("remat", [False, True])
def test_weights_are_gathered_one_by_one_and_gradients_scattered(remat: bool) -> None:
    """No collective is of more than one weight, on its way to the layer that uses it."""
    policy = tiny_policy(num_layers=6, hidden_size=64, intermediate_size=256, vocab_size=272)
    layout = layout_of(policy, MeshConfig())
    step = TrainStep(policy.graphdef, TrainConfig(rows=1, row_length=32, remat=remat), layout)
    params = jax.device_put(policy.params, layout.shardings(policy.params))
    state, sums, _ = jax.eval_shape(step.start, params, 0)
    [microbatch] = side_by_side(pack([Example([1, 2], [3])], SHAPES[:1]), layout.lanes)
    program = step.accumulate.lower(sums, state.params, (), microbatch).compile().as_text()
    gathered = [
        [int(size) for size in shape.split(",")]
        for shape in re.findall(r"= f32\[([\d,]+)\]\S* all-gather\(", program)
    ]
    assert len(gathered) >= 9 * 6 + 3  # more where XLA:CPU does not join the two passes' gathering
    assert max(np.prod(shape) for shape in gathered) <= 272 * 64
    assert "reduce-scatter(" in program
