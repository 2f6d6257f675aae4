"""The shapes of published models by their Hugging Face ids, from the ``config.json`` of each: for plans.

The weights need not be at hand there.
"""

from __future__ import annotations

import dataclasses

from envisions_jax.models.config import LlamaConfig, ModelError
from envisions_jax.models.gguf import GGUFModel
from envisions_jax.models.loading import read_config
from envisions_jax.models.locating import locate, on_this_machine

_7B = LlamaConfig(
    vocab_size=32_000,
    hidden_size=4096,
    intermediate_size=11_008,
    num_layers=32,
    num_heads=32,
    num_kv_heads=32,
    head_dim=128,
    bos_token_id=1,
    eos_token_ids=(2,),
)
_13B = dataclasses.replace(
    _7B, hidden_size=5120, intermediate_size=13_824, num_layers=40, num_heads=40, num_kv_heads=40
)
SHAPES = {
    "meta-llama/Llama-2-7b-hf": _7B,
    "meta-llama/Llama-2-7b-chat-hf": _7B,
    "meta-llama/Llama-2-13b-hf": _13B,
    "meta-llama/Llama-2-13b-chat-hf": _13B,
}


def shape_of(name: str) -> LlamaConfig:
    """The configuration of a model: from where it is on this machine, from this table, or from the hub.

    Raises ModelError: it is nowhere.
    """
    path = on_this_machine(name)
    if path is None and name in SHAPES:
        return SHAPES[name]
    try:
        path = path or locate(name)
    except ModelError as error:
        raise ModelError(f"{error} (known without its files: {', '.join(SHAPES)})") from error
    return read_config(path) if path.is_dir() else GGUFModel(path).config
