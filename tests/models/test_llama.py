"""Logits of random models against transformers, and what the trunk promises its callers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from envisions_jax import Policy, testing
from envisions_jax.models.attention import CausalAttention, branch_mask, causal_attention, causal_mask
from envisions_jax.models.llama import Llama, abstract
from tests.models.hf_parity import largest_difference, random_hf_model

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "multi-head": {},
    "grouped": {"num_key_value_heads": 2},
    "multi-query, wide heads": {"num_key_value_heads": 1, "head_dim": 16},
    "tied": {"tie_word_embeddings": True},
    "linear rope": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0}},
    "llama3 rope": {"rope_parameters": LLAMA3_ROPE},
    "large theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    "biases": {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 2},
    "eps": {"rms_norm_eps": 0.05},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_equal_transformers(name: str, tmp_path: Path) -> None:
    model = random_hf_model(tmp_path, **VARIANTS[name])
    tokens = np.random.default_rng(0).integers(0, 96, (2, 80))
    policy = Policy.from_pretrained(tmp_path, dtype="float32")
    assert largest_difference(policy, model, tokens) <= 1e-4


@pytest.mark.parametrize("name", ["grouped", "tied", "llama3 rope", "linear rope", "biases"])
def test_what_we_save_transformers_loads_with_the_same_logits(name: str, tmp_path: Path) -> None:
    import transformers

    model = random_hf_model(tmp_path / "theirs", **VARIANTS[name])
    policy = Policy.from_pretrained(tmp_path / "theirs", dtype="float32")
    policy.save_pretrained(tmp_path / "ours")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    tokens = np.random.default_rng(1).integers(0, 96, (2, 70))
    assert largest_difference(policy, again.eval(), tokens) <= 1e-4
    for key, value in model.state_dict().items():
        assert np.array_equal(value.numpy(), again.state_dict()[key].numpy()), key


def test_no_token_sees_a_later_one(tiny_policy: Policy) -> None:
    tokens = np.arange(12)[None] + 5
    changed = tokens.copy()
    changed[0, 7] = 99
    before, after = (np.asarray(tiny_policy.logits(t)) for t in (tokens, changed))
    assert np.array_equal(before[0, :7], after[0, :7])
    assert not np.allclose(before[0, 7:], after[0, 7:])


def test_packed_examples_do_not_see_each_other(tiny_policy: Policy) -> None:
    first, second = np.arange(10, 15), np.arange(40, 47)
    row = jnp.asarray(np.concatenate([first, second]))[None]
    positions = jnp.asarray([[*range(5), *range(7)]])
    mask = branch_mask(jnp.asarray([[5] * 5 + [12] * 7]))

    @jax.jit
    def logits(params: nnx.State) -> jax.Array:
        model = nnx.merge(tiny_policy.graphdef, params)
        return model.logits(model(row, positions, CausalAttention(mask)))

    packed = logits(tiny_policy.params)
    for part, place in ((first, slice(0, 5)), (second, slice(5, 12))):
        alone = tiny_policy.logits(part[None])
        assert np.allclose(packed[0, place], alone[0], atol=1e-5)


def test_remat_changes_neither_values_nor_gradients(tiny_policy: Policy) -> None:
    tokens = jnp.arange(9)[None]

    def loss(params: nnx.State, remat: bool) -> jax.Array:
        model = nnx.merge(tiny_policy.graphdef, params)
        return jnp.square(
            model.logits(model(tokens, tokens, CausalAttention(causal_mask(9)), remat=remat))
        ).mean()

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    plain, again = (gradient(tiny_policy.params, remat) for remat in (False, True))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        assert np.allclose(a, b, atol=1e-6)


def test_attention_is_asked_once_a_layer_with_rotated_keys(tiny_policy: Policy) -> None:
    seen: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = []
    tokens = jnp.arange(6)[None]

    def attention(layer: int, q: jax.Array, k: jax.Array, v: jax.Array, /) -> jax.Array:
        seen.append((layer, q.shape, k.shape))
        return causal_attention(q, k, v, mask=causal_mask(6))

    jax.eval_shape(lambda: tiny_policy.model(tokens, tokens, attention))
    assert seen == [(layer, (1, 6, 4, 8), (1, 6, 2, 8)) for layer in range(2)]


def test_only_distances_matter_to_rotary_positions(tiny_policy: Policy) -> None:
    tokens, positions = jnp.arange(6)[None] + 9, jnp.arange(6)[None]

    @jax.jit
    def hidden(params: nnx.State, positions: jax.Array) -> jax.Array:
        return nnx.merge(tiny_policy.graphdef, params)(tokens, positions, CausalAttention(causal_mask(6)))

    near, far = (hidden(tiny_policy.params, positions + start) for start in (0, 100))
    assert np.allclose(near, far, atol=1e-4)


def test_bfloat16_compute_keeps_float32_weights_and_logits() -> None:
    config = testing.tiny_config()
    graphdef, params = nnx.split(Llama(config, rngs=nnx.Rngs(params=0), dtype=jnp.bfloat16))
    policy = Policy(config, graphdef, params, None)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert policy.dtype == jnp.bfloat16 and policy.logits(np.array([[1, 2]])).dtype == jnp.float32


def test_abstract_describes_the_same_model_without_memory() -> None:
    config = testing.tiny_config()
    graphdef, shapes = abstract(config)
    real = nnx.split(Llama(config, rngs=nnx.Rngs(params=0)))
    assert graphdef == real[0]
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(shapes))
    assert jax.tree.map(jnp.shape, real[1]) == jax.tree.map(lambda leaf: leaf.shape, shapes)
