"""A tiny random policy with a small tokenizer, so that a test of the sampler or the loop is short.

Nothing is downloaded, and everything compiles in a second or two.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import tokenizers
from flax import nnx
from tokenizers import decoders, models, pre_tokenizers

from envisions_jax.models.config import LlamaConfig
from envisions_jax.models.llama import INIT_STDDEV, Llama
from envisions_jax.policy import Policy
from envisions_jax.tokenizer import Tokenizer
from envisions_jax.tokenizer_backends import FastBackend, byte_level_alphabet

SPECIALS = ("<pad>", "<s>", "</s>")
# Runs of spaces and a few letters become tokens of several bytes.
_MERGES = [
    ("Ġ", "Ġ"),
    ("ĠĠ", "ĠĠ"),
    ("Ċ", "ĠĠĠĠ"),
    ("t", "h"),
    ("th", "e"),
    ("Ġ", "the"),
    ("Ġ", "="),
    ("Ġ", "+"),
]
VOCAB_SIZE = len(SPECIALS) + 256 + len(_MERGES)
_STDDEV = 0.2  # peaked enough that sampling, temperature and nucleus differ visibly


def tiny_config(**changes: Any) -> LlamaConfig:
    """A LLaMA of 2 layers and 32 channels with 2 query heads to a key/value head; `changes` override."""
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=32,
        intermediate_size=48,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_ids=(2,),
        pad_token_id=0,
    )
    return dataclasses.replace(config, **changes)


def tiny_tokenizer() -> Tokenizer:
    """Byte-level BPE over all bytes and a few merges, with BOS; digits stand alone, as in SmolLM2."""
    alphabet = [character for character, _ in sorted(byte_level_alphabet().items(), key=lambda item: item[1])]
    pieces = [*SPECIALS, *alphabet, *(left + right for left, right in _MERGES)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocabulary, _MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([tokenizers.AddedToken(text, normalized=False) for text in SPECIALS])
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    settings |= dict(zip(("pad_token", "bos_token", "eos_token"), SPECIALS, strict=True))
    return Tokenizer(FastBackend(tokenizer), pad_id=0, bos_id=1, eos_id=2, add_bos=True, settings=settings)


def tiny_policy(seed: int = 0, **changes: Any) -> Policy:
    """A random policy in float32; `changes` are `tiny_config`'s. The same seed gives the same weights."""
    config = tiny_config(**changes)
    graphdef, params = nnx.split(Llama(config, rngs=nnx.Rngs(params=seed)))
    params = jax.tree.map(lambda x: x if x.ndim == 1 else x * jnp.float32(_STDDEV / INIT_STDDEV), params)
    tokenizer = tiny_tokenizer() if config.vocab_size >= VOCAB_SIZE else None
    return Policy(config, graphdef, params, tokenizer)
