"""transformers as the independent opinion: the same folder, computed by both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from envisions_jax import Policy


def random_hf_model(folder: Path, **options: Any) -> transformers.LlamaForCausalLM:
    """Saves a small random LLaMA made by transformers, with weights large enough to tell errors apart."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "vocab_size": 96,
        "hidden_size": 32,
        "intermediate_size": 56,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,
        "initializer_range": 0.15,
    }
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**(shape | options)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):  # otherwise all ones, or zeros: nothing to get wrong
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model.eval()


def hf_logits(model: torch.nn.Module, tokens: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(tokens).long()).logits.float().numpy()


def largest_difference(policy: Policy, model: torch.nn.Module, tokens: np.ndarray) -> float:
    """The largest absolute difference of logits, over all positions and the vocabulary."""
    return float(np.abs(np.asarray(policy.logits(tokens)) - hf_logits(model, tokens)).max())
