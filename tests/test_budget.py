"""The reckoned memory beside what there is and XLA's account of it, and the slots chosen from it."""

from __future__ import annotations

import dataclasses

import chex
import jax
import numpy as np
import pytest

from envisions_jax import Policy, budget, testing
from envisions_jax.config import TrainConfig as TrainSettings
from envisions_jax.sampling import decode
from envisions_jax.sampling.shapes import StageShape, plan
from envisions_jax.training import Example, TrainConfig
from envisions_jax.training.packing import pack, row_shapes, stacks
from envisions_jax.training.step import STACK, TrainStep

PROMPTS = [[1, 2, 3, *[n] * 100] for n in range(4, 12)]


def test_caches_are_as_large_as_reckoned(tiny_policy: Policy) -> None:
    config, shape, slots = tiny_policy.config, plan(PROMPTS, 16, 5), 16
    roots, empty = decode.nobody(config, tiny_policy.dtype, slots, shape)
    prefix = decode.empty_cache(config, 1, shape.prefix_length, tiny_policy.dtype)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves((roots, empty.cache, prefix)))
    itemsize = tiny_policy.dtype.itemsize
    assert budget.cache_bytes(config, shape, slots, itemsize) == held
    # With more of them the last 16 move, and of these the last 4 (as `decode` has it on CPU).
    a_token = 2 * config.num_layers * config.num_kv_heads * config.head_dim * itemsize
    moved = budget.cache_bytes(config, shape, 32, itemsize) - budget.cache_bytes(
        config, shape, 32, itemsize, "tpu"
    )
    assert moved == (16 + 4) * (shape.prompt_length + shape.new_length) * a_token


def test_empty_slots_are_the_same_whoever_makes_them(tiny_policy: Policy) -> None:
    shape = plan(PROMPTS, 16, 5)
    made = decode.nobody(tiny_policy.config, tiny_policy.dtype, 16, shape)
    compiled = decode.compiled_nobody(tiny_policy.config, tiny_policy.dtype, 16, shape, None)
    chex.assert_trees_all_equal(made, compiled)
    chex.assert_trees_all_equal_shapes_and_dtypes(made, compiled)


@pytest.mark.parametrize(("rows", "length"), [(4, 128), (1, 512)])
def test_activations_are_about_as_large_as_reckoned(rows: int, length: int) -> None:
    policy = testing.tiny_policy(
        hidden_size=96, intermediate_size=256, num_layers=6, num_heads=6, num_kv_heads=2, head_dim=16
    )
    step = TrainStep(policy.graphdef, TrainConfig(rows=rows, row_length=length))
    examples = [Example([row + 1, *[2] * (length // 2)], [3] * (length // 3), "L1") for row in range(rows)]
    [microbatch] = pack(examples, row_shapes(rows, length, length))
    assert microbatch.tokens.shape == (rows, length)
    state, accumulated, _ = jax.eval_shape(step.start, policy.params, 0)
    [(stack, count)] = stacks([microbatch], STACK)
    whole = step.whole_step.lower(state, accumulated, (), stack, count, np.float32(1e-4)).compile()
    kept = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((state, accumulated)))
    assert whole.memory_analysis().alias_size_in_bytes == kept  # all of it is written in place
    temporary = whole.memory_analysis().temp_size_in_bytes
    assert budget.activation_bytes(policy, rows, length) == pytest.approx(temporary, rel=0.25)


def test_rows_that_are_still_to_be_chosen_count_as_the_longest(tiny_policy: Policy) -> None:
    shape = plan(PROMPTS, 16, 5)
    chosen, longest, shorter = (
        budget.budget(tiny_policy, shape, 16, TrainSettings(row_length=length)).activations
        for length in (0, 480, 256)
    )
    assert chosen == longest > shorter


def test_slots_are_what_is_worth_it_or_has_room(tiny_policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = plan(PROMPTS, 16, 5)
    itemsize = tiny_policy.dtype.itemsize
    weights = 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(tiny_policy.params))

    def chosen(memory: float) -> int:
        monkeypatch.setattr(budget, "device_memory", lambda: int(memory / budget.SHARE))
        return budget.default_slots(tiny_policy, shape)

    of_24 = budget.cache_bytes(tiny_policy.config, shape, 24, itemsize)
    assert chosen(1e12) == budget.SLOTS["cpu"]
    assert chosen(weights + of_24 + 8) == 24
    assert chosen(weights + of_24 - 8) == 16
    of_4 = budget.cache_bytes(tiny_policy.config, shape, 4, itemsize)
    assert chosen(weights + of_4 + 8) == 4
    assert chosen(weights) == 2


def test_what_does_not_fit_is_told(tiny_policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    shape: StageShape = plan(PROMPTS, 16, 5)
    reckoned = budget.budget(tiny_policy, shape, 40, TrainSettings(rows=2))
    assert reckoned.memory == budget.device_memory() > 2**28
    assert "40 candidates" in reckoned.told and "lower" not in reckoned.told
    short = dataclasses.replace(reckoned, memory=reckoned.peak - 1)
    assert "fewer sampler.slots" in short.told
    assert np.isclose(reckoned.training, 4 * 4 * sum(x.size for x in jax.tree.leaves(tiny_policy.params)))
