"""The shape of a LLaMA model, and its translation from and to Hugging Face's ``config.json``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal


class ModelError(ValueError):
    """A model that cannot be loaded, saved or run as asked; the message says what to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the context of pretraining.

    ``linear`` divides every frequency by `factor`. ``llama3`` (LLaMA 3.1) divides only the low ones,
    keeps the high ones, and interpolates in between; the last three fields are its own.
    """

    kind: Literal["linear", "llama3"]
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192


@dataclasses.dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """Everything that fixes the parameters' shapes and the computation. Hashable: a jit-static."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    tie_embeddings: bool = False
    max_position_embeddings: int = 4096
    attention_bias: bool = False
    mlp_bias: bool = False
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    pad_token_id: int | None = None

    def __post_init__(self) -> None:
        sizes = (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_layers",
            "num_heads",
            "num_kv_heads",
            "head_dim",
            "max_position_embeddings",
        )
        for name in sizes:
            if getattr(self, name) < 1:
                raise ModelError(f"model config: {name} must be at least 1, got {getattr(self, name)}")
        if self.num_heads % self.num_kv_heads:
            raise ModelError(
                f"model config: num_heads={self.num_heads} is not a multiple of "
                f"num_kv_heads={self.num_kv_heads}; every key/value head must serve as many query heads"
            )
        if self.head_dim % 2:
            raise ModelError(f"model config: head_dim={self.head_dim} must be even for rotary embeddings")

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> LlamaConfig:
        """Reads a parsed ``config.json`` (transformers 4 or 5 spelling).

        Raises:
          ModelError: the architecture or one of its options is not LLaMA's.
        """
        _check_architecture(config)
        hidden_size = _required(config, "hidden_size")
        num_heads = _required(config, "num_attention_heads")
        theta, scaling = _read_rope(config)
        return cls(
            vocab_size=_required(config, "vocab_size"),
            hidden_size=hidden_size,
            intermediate_size=_required(config, "intermediate_size"),
            num_layers=_required(config, "num_hidden_layers"),
            num_heads=num_heads,
            num_kv_heads=config.get("num_key_value_heads") or num_heads,
            head_dim=config.get("head_dim") or hidden_size // num_heads,
            rms_norm_eps=float(config.get("rms_norm_eps", 1e-6)),
            rope_theta=theta,
            rope_scaling=scaling,
            tie_embeddings=bool(config.get("tie_word_embeddings", False)),
            max_position_embeddings=int(config.get("max_position_embeddings", 2048)),
            attention_bias=bool(config.get("attention_bias", False)),
            mlp_bias=bool(config.get("mlp_bias", False)),
            bos_token_id=config.get("bos_token_id"),
            eos_token_ids=_id_tuple(config.get("eos_token_id")),
            pad_token_id=config.get("pad_token_id"),
        )

    def to_hf(self) -> dict[str, Any]:
        """The ``config.json`` that transformers (4 and 5) reads back as this model."""
        eos: int | list[int] | None = list(self.eos_token_ids)
        if len(self.eos_token_ids) < 2:
            eos = self.eos_token_ids[0] if self.eos_token_ids else None
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": _write_rope(self.rope_scaling),
            "tie_word_embeddings": self.tie_embeddings,
            "max_position_embeddings": self.max_position_embeddings,
            "attention_bias": self.attention_bias,
            "mlp_bias": self.mlp_bias,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos,
            "pad_token_id": self.pad_token_id,
            "dtype": "float32",
            "torch_dtype": "float32",
        }


def _check_architecture(config: Mapping[str, Any]) -> None:
    architectures = config.get("architectures") or []
    family = config.get("model_type", "llama" if architectures else None)
    if family != "llama" or (architectures and "LlamaForCausalLM" not in architectures):
        raise ModelError(
            f"unsupported architecture: model_type={family!r}, architectures={architectures!r}; "
            "this project runs LlamaForCausalLM models (LLaMA, CodeLlama, Llemma, DeepSeek-LLM, SmolLM2 ...)"
        )
    activation = config.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise ModelError(f"unsupported hidden_act={activation!r}: LLaMA's feed-forward is SwiGLU ('silu')")
    if config.get("quantization_config"):
        raise ModelError(
            "the folder holds quantised weights (quantization_config); load the unquantised model or its GGUF"
        )


def _required(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ModelError(f"config.json: {key} must be an integer, got {value!r}")
    return value


def _id_tuple(value: int | list[int] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)


def _read_rope(config: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
    """transformers 5 has one ``rope_parameters``; 4 has ``rope_theta`` and ``rope_scaling``."""
    parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = float(parameters.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind not in ("linear", "llama3"):
        raise ModelError(f"unsupported rope_scaling type {kind!r}; supported: default, linear, llama3")
    factor = parameters.get("factor")
    if not isinstance(factor, int | float) or not math.isfinite(factor) or factor < 1:
        raise ModelError(f"config.json: rope_scaling factor must be a number >= 1, got {factor!r}")
    if kind == "linear":
        return theta, RopeScaling(kind="linear", factor=float(factor))
    try:
        return theta, RopeScaling(
            kind="llama3",
            factor=float(factor),
            low_freq_factor=float(parameters["low_freq_factor"]),
            high_freq_factor=float(parameters["high_freq_factor"]),
            original_max_position_embeddings=int(parameters["original_max_position_embeddings"]),
        )
    except KeyError as error:
        raise ModelError(f"config.json: rope_scaling of type llama3 lacks {error.args[0]!r}") from error


def _write_rope(scaling: RopeScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    fields = dataclasses.asdict(scaling)
    kind = fields.pop("kind")
    if kind == "linear":
        return {"rope_type": "linear", "type": "linear", "factor": scaling.factor}
    return {"rope_type": kind, **fields}
