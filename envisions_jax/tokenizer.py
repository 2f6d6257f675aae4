"""Text to token ids and back, for every tokenizer a LLaMA comes with.

A prompt is encoded with `Tokenizer.encode`, what follows it with `Tokenizer.encode_completion`: a
completion carries no BOS and no dummy space, so that prompt + completion tokens are what the model
sees and produces when it generates.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox
import tokenizers

from envisions_jax.models.config import ModelError
from envisions_jax.tokenizer_backends import Backend, FastBackend, SentencePieceBackend


class Tokenizer:
    """One vocabulary, with what its model family adds around a text."""

    def __init__(
        self,
        backend: Backend,
        *,
        bos_id: int | None = None,
        eos_id: int | None = None,
        pad_id: int | None = None,
        add_bos: bool = False,
        chat_template: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Args:
        backend: the vocabulary and its rules.
        bos_id, eos_id: None where the family has none.
        pad_id: where the family has none, EOS (or 0) is used: padding is masked, any id does.
        add_bos: whether the family puts BOS before a prompt.
        chat_template: Jinja text, as in ``tokenizer_config.json``.
        settings: what `save` writes as ``tokenizer_config.json``, besides the above.
        """
        self.backend = backend
        self.bos_id = bos_id
        self.eos_id = eos_id
        self.pad_id: int = next((i for i in (pad_id, eos_id) if i is not None), 0)
        self.add_bos = add_bos and bos_id is not None
        self.chat_template = chat_template
        self._settings = dict(settings or {})

    @property
    def vocab_size(self) -> int:
        """One more than the largest id; a model's embedding may be larger (padded)."""
        return self.backend.vocab_size

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids that stand for no text: BOS, EOS, chat marks."""
        return self.backend.special_ids

    def encode(self, text: str, bos: bool = True) -> list[int]:
        """The tokens of a prompt, from its beginning; BOS first if `bos` and the family uses it."""
        first = [self.bos_id] if bos and self.add_bos and self.bos_id is not None else []
        return first + self.backend.encode(text)

    def encode_completion(self, text: str) -> list[int]:
        """The tokens of a text that continues another: no BOS, no dummy space, no EOS."""
        return self.backend.encode_completion(text)

    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for; empty for special ones. Tokens may split a UTF-8 character."""
        return self._table[token] if 0 <= token < len(self._table) else b""

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of a completion's tokens: the inverse of `encode_completion`; specials leave nothing.

        After a leading BOS the tokens are a whole prompt's, and its dummy space, if any, is dropped too.
        Bytes that are no UTF-8 become U+FFFD.
        """
        tokens = list(tokens)
        text = b"".join(self.token_bytes(token) for token in tokens).decode(errors="replace")
        whole = bool(tokens) and self.bos_id is not None and tokens[0] == self.bos_id
        return text.removeprefix(" ") if whole and self.backend.dummy_prefix else text

    def apply_chat(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """Renders a conversation by the model's chat template; encode the result with ``bos=False``.

        Raises:
          ModelError: the tokenizer has no template, or the template refuses the conversation.
        """
        if self.chat_template is None:
            raise ModelError("this tokenizer has no chat template; write the prompt as plain text instead")

        def refuse(message: str) -> None:
            raise ModelError(f"the chat template refuses the conversation: {message}")

        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = refuse
        names = {name: self._settings_token(name) or "" for name in ("bos_token", "eos_token")}
        return environment.from_string(self.chat_template).render(
            messages=messages, add_generation_prompt=add_generation_prompt, **names
        )

    def save(self, folder: str | Path) -> None:
        """Writes the files that transformers, and `load_tokenizer`, read back as this tokenizer."""
        folder = Path(folder)
        self.backend.save(folder, self.bos_id if self.add_bos else None)
        settings = self._settings | {"add_bos_token": self.add_bos}
        if self.chat_template is not None:
            settings["chat_template"] = self.chat_template
        text = json.dumps(settings, indent=2, ensure_ascii=False)
        (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")

    def _settings_token(self, name: str) -> str | None:
        return token_text(self._settings.get(name))

    @functools.cached_property
    def _table(self) -> list[bytes]:
        return [self.backend.token_bytes(token) for token in range(self.vocab_size)]


def load_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer of a Hugging Face folder; None where it has none (token-level use).

    ``tokenizer.json`` is preferred; a folder with nothing but ``tokenizer.model`` works too.

    Raises:
      ModelError: a file is there but cannot be read.
    """
    settings = _read_settings(folder)
    if (folder / "tokenizer.json").exists():
        return _load_fast(folder / "tokenizer.json", settings)
    if (folder / "tokenizer.model").exists():
        return _load_sentencepiece(folder / "tokenizer.model", settings)
    return None


def _load_fast(path: Path, settings: dict[str, Any]) -> Tokenizer:
    try:
        # The library raises bare Exception for anything wrong in the file; parse the JSON ourselves first.
        json.loads(path.read_text(encoding="utf-8"))
        backend = FastBackend(tokenizers.Tokenizer.from_file(str(path)))
    except Exception as error:
        raise ModelError(f"{path} cannot be read as a tokenizer ({error}); download it again") from error
    ids = {name: _token_id(backend, settings, f"{name}_token") for name in ("bos", "eos", "pad")}
    first = backend.adds_first()
    add_bos = bool(settings.get("add_bos_token", first is not None and first in (ids["bos"], None)))
    return _assemble(backend, ids, add_bos, settings)


def _load_sentencepiece(path: Path, settings: dict[str, Any]) -> Tokenizer:
    try:
        backend = SentencePieceBackend(path.read_bytes())
    except (RuntimeError, OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read as a SentencePiece model ({error}); download it again"
        ) from error
    added = _read_json(path.with_name("added_tokens.json"))
    beyond = [text for text in added if backend.token_id(text) is None]
    if beyond and beyond != [token_text(settings.get("pad_token"))]:  # padding never occurs in a text
        raise ModelError(
            f"{path.with_name('added_tokens.json')} adds {beyond[0]!r}, which tokenizer.model does not have; "
            "save the tokenizer with transformers as tokenizer.json first"
        )
    return sentencepiece_tokenizer(backend, settings)


def sentencepiece_tokenizer(backend: SentencePieceBackend, settings: Mapping[str, Any]) -> Tokenizer:
    """A LLaMA tokenizer around a SentencePiece model; BOS is added unless the settings say no."""
    declared = backend.standard_ids()
    ids = {}
    for name, number in declared.items():
        given = _token_id(backend, settings, f"{name}_token")
        ids[name] = number if given is None else given
    # Not "LlamaTokenizer": transformers 5 would make the merges anew, and wrongly (see tokenizer_export).
    settings = {**settings, "tokenizer_class": "PreTrainedTokenizerFast"}
    for name, number in ids.items():
        if number is not None:
            settings.setdefault(f"{name}_token", backend.token_text(number))
    return _assemble(backend, ids, bool(settings.get("add_bos_token", True)), settings)


def _assemble(
    backend: Backend, ids: Mapping[str, int | None], add_bos: bool, settings: Mapping[str, Any]
) -> Tokenizer:
    return Tokenizer(
        backend,
        bos_id=ids["bos"],
        eos_id=ids["eos"],
        pad_id=ids["pad"],
        add_bos=add_bos,
        chat_template=settings.get("chat_template"),
        settings={key: value for key, value in settings.items() if key != "chat_template"},
    )


def _read_settings(folder: Path) -> dict[str, Any]:
    """``tokenizer_config.json``, completed from the files where older and newer versions keep parts of it."""
    settings = _read_json(folder / "special_tokens_map.json") | _read_json(folder / "tokenizer_config.json")
    template = folder / "chat_template.jinja"
    if template.exists():
        settings["chat_template"] = template.read_text(encoding="utf-8")
    named = settings.get("chat_template")
    if isinstance(named, list):  # several templates by name
        settings["chat_template"] = {entry["name"]: entry["template"] for entry in named}.get("default")
    return settings


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not valid JSON ({error}); download it again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def _token_id(backend: Backend, settings: Mapping[str, Any], name: str) -> int | None:
    text = token_text(settings.get(name))
    return None if text is None else backend.token_id(text)


def token_text(entry: str | Mapping[str, Any] | None) -> str | None:
    """A special token in a settings file is its text, or an object that has it as ``content``."""
    return entry if entry is None or isinstance(entry, str) else entry["content"]
