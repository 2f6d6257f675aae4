"""SentencePiece's BPE written as a ``tokenizer.json``, so that transformers loads what we save.

transformers 5 converts a bare ``tokenizer.model`` itself, but orders the merges by id instead of by score,
which gets runs of spaces wrong ("Hello  world" becomes ▁Hello ▁▁ world, not ▁Hello ▁ ▁world).
"""

from __future__ import annotations

import tokenizers
from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined] # made at run time
from tokenizers import decoders, models, normalizers, processors

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3  # ModelProto.SentencePiece.Type


def to_fast(model: bytes) -> tokenizers.Tokenizer | None:
    """The same vocabulary as a fast tokenizer; None where it is no byte-fallback BPE (LLaMA's always is)."""
    proto = ModelProto.FromString(model)
    if proto.trainer_spec.model_type != proto.trainer_spec.BPE or not proto.trainer_spec.byte_fallback:
        return None
    vocabulary = {piece.piece: number for number, piece in enumerate(proto.pieces)}
    unknown = next(piece.piece for piece in proto.pieces if piece.type == _UNKNOWN)
    bpe = models.BPE(
        vocabulary, _merges(proto, vocabulary), unk_token=unknown, fuse_unk=True, byte_fallback=True
    )
    tokenizer = tokenizers.Tokenizer(bpe)
    steps: list[normalizers.Normalizer] = [normalizers.Replace(" ", _SPACE)]
    undo: list[decoders.Decoder] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if proto.normalizer_spec.add_dummy_prefix:
        steps.insert(0, normalizers.Prepend(_SPACE))
        undo.append(decoders.Strip(" ", 1, 0))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.decoder = decoders.Sequence(undo)
    special = [piece.piece for piece in proto.pieces if piece.type in (_UNKNOWN, _CONTROL)]
    tokenizer.add_special_tokens([tokenizers.AddedToken(piece, normalized=False) for piece in special])
    return tokenizer


def _merges(proto: ModelProto, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to make a piece of two, best score first.

    All runs of spaces have the same score; SentencePiece then merges the leftmost pair, which for a
    run means that the longer left side comes first.
    """
    ranked = [
        (-piece.score, -cut, piece.piece[:cut], piece.piece[cut:])
        for piece in proto.pieces
        if piece.type == _NORMAL
        for cut in range(1, len(piece.piece))
        if piece.piece[:cut] in vocabulary and piece.piece[cut:] in vocabulary
    ]
    return [(left, right) for *_, left, right in sorted(ranked)]


def with_first(tokenizer: tokenizers.Tokenizer, first: int) -> tokenizers.Tokenizer:
    """A copy that puts the token `first` before every text that is encoded with special tokens."""
    text = tokenizer.id_to_token(first)
    copy = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    copy.post_processor = processors.TemplateProcessing(
        single=[text, "$A"], pair=[text, "$A", f"{text}:1", "$B:1"], special_tokens=[(text, first)]
    )
    return copy
