"""The tokenizer inside a GGUF file, rebuilt so that it tokenises exactly as the original does.

GGUF keeps the vocabulary and the merges, but of the pre-tokenizer (how text is cut before merging)
only a name. Leaving it out is what gets runs of spaces wrong: SmolLM2 cuts out each digit *before* GPT-2's
rule looks at spaces, so that in ``"x  5"`` both spaces stay together, and in ``"[\\n    1,"`` the newline and
its indent do.
"""

from __future__ import annotations

from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers

from envisions_jax.models.config import ModelError
from envisions_jax.models.gguf import GGUFModel
from envisions_jax.tokenizer import Tokenizer, sentencepiece_tokenizer
from envisions_jax.tokenizer_backends import FastBackend, ModelProto, SentencePieceBackend

# gguf.TokenType
_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4

_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def load(model: GGUFModel) -> Tokenizer | None:
    """The file's tokenizer; None where it has none.

    Raises:
      ModelError: a kind of tokenizer whose rules are not known here.
    """
    kind = model.field("tokenizer.ggml.model")
    if kind is None or kind == "none":
        return None
    if kind == "gpt2":
        return _byte_level(model)
    if kind == "llama":
        return _sentencepiece(model)
    raise ModelError(
        f"{model.path}: the embedded tokenizer is of kind {kind!r}, known are 'gpt2' and 'llama'; "
        "use the Hugging Face folder of this model"
    )


def _pre_tokenizer(name: str, path: object) -> tuple[pre_tokenizers.PreTokenizer, bool]:
    """The cutting rule by llama.cpp's name for it, and whether whole words skip the merges."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if name in ("smollm", "starcoder", "refact"):
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level]), False
    if name in ("gpt-2", "default"):
        return byte_level, False
    if name in ("llama-bpe", "llama3", "llama-v3"):
        split = pre_tokenizers.Split(Regex(_LLAMA3_SPLIT), "isolated")
        spelling = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([split, spelling]), True
    raise ModelError(
        f"{path}: unknown pre-tokenizer {name!r} (known: smollm, starcoder, refact, gpt-2, llama-bpe); "
        "use the Hugging Face folder of this model"
    )


def _byte_level(model: GGUFModel) -> Tokenizer:
    tokens: list[str] = model.field("tokenizer.ggml.tokens")
    types: list[int] = model.field("tokenizer.ggml.token_type", [_NORMAL] * len(tokens))
    merges = [tuple(merge.split(" ")) for merge in model.field("tokenizer.ggml.merges", [])]
    name = model.field("tokenizer.ggml.pre", "default")
    pre_tokenizer, ignore_merges = _pre_tokenizer(name, model.path)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    try:
        bpe = models.BPE(vocabulary, merges, ignore_merges=ignore_merges)
    except Exception as error:  # the library raises nothing more specific
        raise ModelError(
            f"{model.path}: the embedded tokenizer is damaged ({error}); download it again"
        ) from error
    tokenizer = tokenizers.Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    for kind, add in ((_CONTROL, tokenizer.add_special_tokens), (_USER_DEFINED, tokenizer.add_tokens)):
        chosen = [token for token, given in zip(tokens, types, strict=True) if given == kind]
        add([tokenizers.AddedToken(t, normalized=False, special=kind == _CONTROL) for t in chosen])
    # Not the original's class: transformers 5 would rebuild a "GPT2Tokenizer" without the cutting of digits.
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": model.config.max_position_embeddings,
    }
    ids = _declared(model)
    for name, number in ids.items():
        if number is not None:
            settings[f"{name}_token"] = tokens[number]
    return Tokenizer(
        FastBackend(tokenizer),
        bos_id=ids["bos"],
        eos_id=ids["eos"],
        pad_id=ids["pad"],
        # llama.cpp's default for LLaMA 3 files that do not say
        add_bos=model.field("tokenizer.ggml.add_bos_token", ignore_merges),
        chat_template=model.field("tokenizer.chat_template"),
        settings=settings,
    )


def _sentencepiece(model: GGUFModel) -> Tokenizer:
    """SentencePiece's model file, written anew from the pieces, scores and types that GGUF keeps."""
    proto = ModelProto()
    tokens: list[str] = model.field("tokenizer.ggml.tokens")
    columns = (tokens, model.field("tokenizer.ggml.scores"), model.field("tokenizer.ggml.token_type"))
    for piece, score, kind in zip(*columns, strict=True):
        proto.pieces.add(piece=piece, score=score, type=kind)  # the numbers of the types are the same
    ids = _declared(model)
    trainer = proto.trainer_spec
    trainer.model_type = trainer.BPE
    trainer.byte_fallback = True
    trainer.vocab_size = len(tokens)
    trainer.bos_id, trainer.eos_id, trainer.pad_id = (-1 if i is None else i for i in ids.values())
    trainer.bos_piece, trainer.eos_piece, trainer.pad_piece = (
        "" if number is None else tokens[number] for number in ids.values()
    )
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = model.field("tokenizer.ggml.add_space_prefix", True)
    proto.normalizer_spec.remove_extra_whitespaces = False
    settings: dict[str, Any] = {"add_bos_token": model.field("tokenizer.ggml.add_bos_token", True)}
    template = model.field("tokenizer.chat_template")
    if template is not None:
        settings["chat_template"] = template
    return sentencepiece_tokenizer(SentencePieceBackend(proto.SerializeToString()), settings)


def _declared(model: GGUFModel) -> dict[str, int | None]:
    keys = {"bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id"}
    return {name: model.field(f"tokenizer.ggml.{key}") for name, key in keys.items()}
