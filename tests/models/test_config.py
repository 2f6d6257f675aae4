"""config.json in both spellings of transformers, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from envisions_jax import testing
from envisions_jax.models.config import LlamaConfig, ModelError, RopeScaling

LLAMA2: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_llama2_defaults() -> None:
    config = LlamaConfig.from_hf(LLAMA2)
    assert (config.num_kv_heads, config.head_dim, config.rope_theta) == (32, 128, 10_000.0)
    assert config.rope_scaling is None and not config.tie_embeddings and config.eos_token_ids == (2,)


def test_rope_is_read_from_both_spellings() -> None:
    old = LlamaConfig.from_hf(LLAMA2 | {"rope_theta": 5e5, "rope_scaling": LLAMA3_SCALING})
    new = LlamaConfig.from_hf(LLAMA2 | {"rope_parameters": LLAMA3_SCALING | {"rope_theta": 5e5}})
    assert old == new
    assert old.rope_theta == 5e5 and old.rope_scaling == RopeScaling(kind="llama3", factor=8.0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rope_scaling": RopeScaling(kind="linear", factor=2.0)},
        {"rope_scaling": RopeScaling(kind="llama3", factor=32.0), "tie_embeddings": True},
        {"eos_token_ids": (2, 7), "attention_bias": True, "mlp_bias": True, "head_dim": 16},
        {"eos_token_ids": (), "bos_token_id": None, "pad_token_id": None},
    ],
)
def test_writing_and_reading_back_changes_nothing(changes: dict[str, Any]) -> None:
    config = testing.tiny_config(**changes)
    assert LlamaConfig.from_hf(config.to_hf()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mistral", "architectures": ["MistralForCausalLM"]}, "mistral"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0}}, "yarn"),
        ({"rope_scaling": {"type": "linear", "factor": "2"}}, "factor"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"vocab_size": None}, "vocab_size"),
        ({"num_key_value_heads": 5}, "num_kv_heads=5"),
        ({"num_hidden_layers": 0}, "num_layers"),
        ({"head_dim": 7}, "head_dim=7"),
    ],
)
def test_what_is_no_llama_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        LlamaConfig.from_hf(LLAMA2 | changes)


def test_a_config_is_hashable_and_frozen() -> None:
    config = testing.tiny_config()
    assert hash(config) == hash(testing.tiny_config())
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.num_layers = 3  # type: ignore[misc]
