"""GGUF files written here by llama.cpp's rules, and what comes out of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import jax
import numpy as np
import pytest

from envisions_jax import Policy, testing
from envisions_jax.models import rotary
from envisions_jax.models.config import LlamaConfig, ModelError, RopeScaling
from envisions_jax.models.weights import named_arrays
from envisions_jax.tokenizer_backends import byte_level_alphabet

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def permuted(weights: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's own permutation of query and key rows, from its conversion script's definition."""
    c = weights.shape[0] // heads
    rows = [head * c + half * (c // 2) + i for head in range(heads) for i in range(c // 2) for half in (0, 1)]
    return weights[rows]


def write_gguf(path: Path, policy: Policy, kind: gguf.GGMLQuantizationType | None = None) -> None:
    config = policy.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    if config.rope_scaling is not None and config.rope_scaling.kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_scaling.factor)
    elif config.rope_scaling is not None:
        plain = rotary.frequencies(testing.tiny_config(rope_theta=config.rope_theta))
        writer.add_tensor("rope_freqs.weight", plain / rotary.frequencies(config))
    for name, array in named_arrays(policy.params):
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        name = name.replace("model.layers.", "blk.")
        if "attn_q." in name or "attn_k." in name:
            array = permuted(array, config.num_heads if "attn_q." in name else config.num_kv_heads)
        if kind is not None and array.ndim == 2:
            writer.add_tensor(name, gguf.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    add_tokenizer(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tokenizer(writer: gguf.GGUFWriter) -> None:
    alphabet = list(byte_level_alphabet())
    pieces = [*testing.SPECIALS, *alphabet, "ĠĠ"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(pieces)
    writer.add_token_types([3] * len(testing.SPECIALS) + [1] * (len(alphabet) + 1))
    writer.add_token_merges(["Ġ Ġ"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_embeddings": True, "num_kv_heads": 4},
        {"rope_scaling": RopeScaling(kind="linear", factor=4.0)},
        {"rope_scaling": RopeScaling(kind="llama3", factor=8.0), "rope_theta": 5e5},
        {"attention_bias": True, "mlp_bias": True},
        {"rms_norm_eps": 1e-6, "head_dim": 16},
    ],
)
def test_the_same_model_comes_back(changes: dict[str, Any], tmp_path: Path) -> None:
    policy = testing.tiny_policy(**changes)
    # Values of their own in every vector too: norms and biases start as ones and zeros.
    policy = policy.with_params(
        jax.tree.map(
            lambda x: x + np.linspace(0, 0.5, x.size, dtype=np.float32).reshape(x.shape), policy.params
        )
    )
    write_gguf(tmp_path / "m.gguf", policy)
    loaded = Policy.from_pretrained(tmp_path / "m.gguf", dtype="float32")
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), policy.params, loaded.params))
    assert loaded.config == LlamaConfig(**(vars(policy.config) | {"pad_token_id": None}))


def test_quantised_weights_are_dequantised(tmp_path: Path) -> None:
    policy = testing.tiny_policy(intermediate_size=64)
    write_gguf(tmp_path / "m.gguf", policy, gguf.GGMLQuantizationType.Q8_0)
    loaded = Policy.from_pretrained(tmp_path / "m.gguf", dtype="float32")
    for exact, near in zip(jax.tree.leaves(policy.params), jax.tree.leaves(loaded.params), strict=True):
        assert np.allclose(exact, near, atol=0.01)


def test_the_embedded_tokenizer_cuts_digits_and_adds_bos(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", testing.tiny_policy())
    tokenizer = Policy.from_pretrained(tmp_path / "m.gguf").tokenizer
    assert tokenizer is not None
    tokens = tokenizer.encode("x  5")
    assert tokens[0] == tokenizer.bos_id == 1
    assert [tokenizer.token_bytes(token) for token in tokens[1:]] == [b"x", b"  ", b"5"]
    assert tokenizer.special_ids == {0, 1, 2} and tokenizer.eos_id == 2


@pytest.mark.parametrize("size", [0, 3, 100, 5000])
def test_a_truncated_file_is_named(size: int, tmp_path: Path) -> None:
    write_gguf(tmp_path / "whole.gguf", testing.tiny_policy())
    broken = tmp_path / "broken.gguf"
    broken.write_bytes((tmp_path / "whole.gguf").read_bytes()[:size])
    with pytest.raises(ModelError, match=r"broken\.gguf is not a whole GGUF file"):
        Policy.from_pretrained(broken)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "gemma")
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match="gemma"):
        Policy.from_pretrained(tmp_path / "m.gguf")
