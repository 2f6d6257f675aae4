"""GGUF, llama.cpp's file of a whole model: metadata, (quantised) weights and tokenizer in one.

Two things differ from Hugging Face's layout and are undone here: names, and the rows of the query
and key projections, which llama.cpp permutes so that its rotary pairs are neighbours.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from envisions_jax.models import rotary
from envisions_jax.models.config import LlamaConfig, ModelError, RopeScaling

_TOP_LEVEL = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class GGUFModel:
    """One opened file; weights are read, and dequantised, only when `tensors` reaches them."""

    def __init__(self, path: Path) -> None:
        """Raises ModelError: not a GGUF file, truncated, or of another architecture."""
        self.path = path
        try:
            self._reader = gguf.GGUFReader(path)
        except (ValueError, IndexError, KeyError) as error:
            raise ModelError(f"{path} is not a whole GGUF file ({error}); download it again") from error
        architecture = self.field("general.architecture")
        if architecture != "llama" or self.field("llama.expert_count", 0):
            raise ModelError(f"{path}: unsupported GGUF architecture {architecture!r}; only dense 'llama' is")

    def field(self, key: str, default: Any = None) -> Any:
        """A metadata value, or `default` where the file has none."""
        entry = self._reader.get_field(key)
        return default if entry is None else entry.contents()

    @functools.cached_property
    def config(self) -> LlamaConfig:
        names = {tensor.name for tensor in self._reader.tensors}
        heads = self._integer("llama.attention.head_count")
        hidden = self._integer("llama.embedding_length")
        eos = self.field("tokenizer.ggml.eos_token_id")
        config = LlamaConfig(
            vocab_size=self._vocab_size(),
            hidden_size=hidden,
            intermediate_size=self._integer("llama.feed_forward_length"),
            num_layers=self._integer("llama.block_count"),
            num_heads=heads,
            num_kv_heads=self._integer("llama.attention.head_count_kv", heads),
            head_dim=self._integer("llama.attention.key_length", hidden // heads),
            rms_norm_eps=_shortest(self.field("llama.attention.layer_norm_rms_epsilon", 1e-5)),
            rope_theta=_shortest(self.field("llama.rope.freq_base", 10_000.0)),
            rope_scaling=self._linear_scaling(),
            tie_embeddings="output.weight" not in names,
            max_position_embeddings=self._integer("llama.context_length"),
            attention_bias="blk.0.attn_output.bias" in names,
            mlp_bias="blk.0.ffn_down.bias" in names,
            bos_token_id=self.field("tokenizer.ggml.bos_token_id"),
            eos_token_ids=() if eos is None else (eos,),
            pad_token_id=self.field("tokenizer.ggml.padding_token_id"),
        )
        return self._with_llama3_scaling(config) if "rope_freqs.weight" in names else config

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """Streams (Hugging Face name, float32 array in Hugging Face's layout)."""
        for tensor in self._reader.tensors:
            if tensor.name == "rope_freqs.weight":  # read by `config`
                continue
            try:
                array = gguf.dequantize(tensor.data, tensor.tensor_type)
            except NotImplementedError as error:
                raise ModelError(
                    f"{self.path}: tensor {tensor.name} is stored as {tensor.tensor_type.name}, which the "
                    "gguf package cannot dequantise; use another quantisation of the model"
                ) from error
            yield self._hf_name(tensor.name), self._unpermuted(tensor.name, array)

    def _integer(self, key: str, default: int | None = None) -> int:
        value = self.field(key, default)
        if not isinstance(value, int):
            raise ModelError(f"{self.path}: metadata {key} must be an integer, got {value!r}")
        return value

    def _vocab_size(self) -> int:
        for tensor in self._reader.tensors:
            if tensor.name == "token_embd.weight":
                return int(tensor.shape[1])  # GGUF states shapes innermost first
        raise ModelError(f"{self.path}: no token_embd.weight; the file holds no whole model")

    def _hf_name(self, name: str) -> str:
        if name in _TOP_LEVEL:
            return _TOP_LEVEL[name]
        match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
        if match is None or match[2] not in _IN_LAYER:
            raise ModelError(f"{self.path}: unknown tensor {name!r}; the model is not a plain LLaMA")
        return f"model.layers.{match[1]}.{_IN_LAYER[match[2]]}.{match[3]}"

    def _unpermuted(self, name: str, array: np.ndarray) -> np.ndarray:
        """llama.cpp stores each head's rows as 0, c/2, 1, c/2 + 1 ...; put them back to 0, 1, 2 ..."""
        if ".attn_q." in name:
            heads = self.config.num_heads
        elif ".attn_k." in name:
            heads = self.config.num_kv_heads
        else:
            return array
        pairs = array.reshape(heads, self.config.head_dim // 2, 2, *array.shape[1:])
        return pairs.swapaxes(1, 2).reshape(array.shape)

    def _linear_scaling(self) -> RopeScaling | None:
        kind = self.field("llama.rope.scaling.type", "none")
        factor = float(self.field("llama.rope.scaling.factor", 1.0))
        if kind == "none" or factor == 1.0:
            return None
        if kind != "linear":
            raise ModelError(f"{self.path}: unsupported rope scaling {kind!r}; supported: linear, llama3")
        return RopeScaling(kind="linear", factor=factor)

    def _with_llama3_scaling(self, config: LlamaConfig) -> LlamaConfig:
        """LLaMA 3's scaling is stored as the divisor of each frequency: find the settings that give it."""
        divisors = next(t.data for t in self._reader.tensors if t.name == "rope_freqs.weight")
        scaling = RopeScaling(kind="llama3", factor=float(np.max(divisors)))
        scaled = dataclasses.replace(config, rope_scaling=scaling)
        if not np.allclose(rotary.frequencies(config) / divisors, rotary.frequencies(scaled), rtol=1e-4):
            raise ModelError(
                f"{self.path}: rope_freqs.weight is not LLaMA 3's scaling; load the original model"
            )
        return scaled


def _shortest(value: float) -> float:
    """GGUF keeps float32: 9.999999747378752e-06 was written as 1e-05."""
    return float(str(np.float32(value)))
