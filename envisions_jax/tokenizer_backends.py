"""The two kinds of tokenizer a LLaMA comes with: Hugging Face's `tokenizers`, and SentencePiece.

Both answer the same questions, `Backend`'s, so that `tokenizer.Tokenizer` need not know which it has.
A tokenizer that puts a space before a text ("dummy prefix", LLaMA-2) must not do so in the middle of
one: `encode_completion` is the same vocabulary without it.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import sentencepiece
import tokenizers
from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined] # made at run time

from envisions_jax.tokenizer_export import to_fast, with_first

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # SentencePiece's visible space


@runtime_checkable
class Backend(Protocol):
    """What both kinds can do; ids are plain integers, no BOS or EOS is added here."""

    vocab_size: int
    special_ids: frozenset[int]
    dummy_prefix: bool

    def encode(self, text: str) -> list[int]: ...

    def encode_completion(self, text: str) -> list[int]: ...

    def token_bytes(self, token: int) -> bytes: ...

    def token_id(self, token: str) -> int | None: ...

    def save(self, folder: Path, first: int | None) -> None:
        """Writes the vocabulary's files; `first` is put before every text by the programs that read them."""


class FastBackend:
    """A ``tokenizer.json``."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        specification = json.loads(tokenizer.to_str())
        continuing = _without_dummy_prefix(specification)
        self.dummy_prefix = continuing != specification
        self._tokenizer = tokenizer
        self._continuing = (
            tokenizers.Tokenizer.from_str(json.dumps(continuing)) if self.dummy_prefix else tokenizer
        )
        added = tokenizer.get_added_tokens_decoder()
        self.special_ids = frozenset(number for number, token in added.items() if token.special)
        self.vocab_size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        self._byte_level = _mentions(specification["decoder"], "ByteLevel")

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_completion(self, text: str) -> list[int]:
        return self._continuing.encode(text, add_special_tokens=False).ids

    def token_bytes(self, token: int) -> bytes:
        text = self._tokenizer.id_to_token(token)
        if text is None or token in self.special_ids:  # ids of a padded embedding have no token
            return b""
        if self._byte_level:
            alphabet = byte_level_alphabet()
            if all(character in alphabet for character in text):
                return bytes(alphabet[character] for character in text)
            return text.encode()
        return _piece_bytes(text)

    def token_id(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)

    def adds_first(self) -> int | None:
        """The id that the file's own template puts before every text, if any."""
        ids = self._tokenizer.encode("x", add_special_tokens=True).ids
        return ids[0] if len(ids) > 1 and ids[0] in self.special_ids else None

    def save(self, folder: Path, first: int | None) -> None:
        same = first is None or first == self.adds_first()
        tokenizer = self._tokenizer if same or first is None else with_first(self._tokenizer, first)
        tokenizer.save(str(folder / "tokenizer.json"))


class SentencePieceBackend:
    """A ``tokenizer.model``."""

    def __init__(self, model: bytes) -> None:
        """Raises RuntimeError: no SentencePiece model."""
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self._model = model
        proto = ModelProto.FromString(model)
        self.dummy_prefix = proto.normalizer_spec.add_dummy_prefix
        proto.normalizer_spec.add_dummy_prefix = False
        self._continuing = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
        self.vocab_size = self._processor.get_piece_size()
        self.special_ids = frozenset(
            number
            for number in range(self.vocab_size)
            if self._processor.is_control(number) or self._processor.is_unknown(number)
        )

    def encode(self, text: str) -> list[int]:
        return self._processor.encode(text)

    def encode_completion(self, text: str) -> list[int]:
        return self._continuing.encode(text)

    def token_bytes(self, token: int) -> bytes:
        if token in self.special_ids or not 0 <= token < self.vocab_size:
            return b""
        return _piece_bytes(self._processor.id_to_piece(token))

    def token_text(self, number: int) -> str:
        return self._processor.id_to_piece(number)

    def token_id(self, token: str) -> int | None:
        number = self._processor.piece_to_id(token)
        return number if self._processor.id_to_piece(number) == token else None

    def standard_ids(self) -> dict[str, int | None]:
        """BOS, EOS and padding as the model file itself declares them."""
        processor = self._processor
        declared = {"bos": processor.bos_id(), "eos": processor.eos_id(), "pad": processor.pad_id()}
        return {name: number if number >= 0 else None for name, number in declared.items()}

    def save(self, folder: Path, first: int | None) -> None:
        (folder / "tokenizer.model").write_bytes(self._model)
        fast = to_fast(self._model)
        if fast is not None:
            FastBackend(fast).save(folder, first)


@functools.cache
def byte_level_alphabet() -> dict[str, int]:
    """GPT-2's spelling of bytes: printable Latin-1 as itself, the rest from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _piece_bytes(piece: str) -> bytes:
    match = _BYTE_TOKEN.fullmatch(piece)
    return bytes([int(match[1], 16)]) if match else piece.replace(_SPACE, " ").encode()


def _mentions(component: dict[str, Any] | None, kind: str) -> bool:
    """Whether a normalizer, pre-tokenizer or decoder is of this type, or a sequence with one of it."""
    if component is None:
        return False
    parts = component.get("decoders") or component.get("pretokenizers") or component.get("normalizers") or []
    return component["type"] == kind or any(_mentions(part, kind) for part in parts)


def _without_dummy_prefix(specification: dict[str, Any]) -> dict[str, Any]:
    """The same ``tokenizer.json`` without whatever puts a space before a text."""
    changed = copy.deepcopy(specification)
    normalizer = changed["normalizer"]
    if normalizer is not None and normalizer["type"] == "Prepend":
        changed["normalizer"] = None
    elif normalizer is not None and normalizer["type"] == "Sequence":
        kept = [part for part in normalizer["normalizers"] if part["type"] != "Prepend"]
        normalizer["normalizers"] = kept
    splitter = changed["pre_tokenizer"] or {"type": "none"}
    for part in splitter.get("pretokenizers", [splitter]):
        if part["type"] == "Metaspace":
            part["prepend_scheme"] = "never"
        if part["type"] == "ByteLevel":
            part["add_prefix_space"] = False
    return changed
