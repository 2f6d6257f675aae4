"""What the policy is asked with, as tokens: texts or tokens, checked before anything is computed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from envisions_jax.arguments import check, check_count, checked_text, is_whole
from envisions_jax.models.config import LlamaConfig, ModelError
from envisions_jax.tokenizer import Tokenizer

if TYPE_CHECKING:
    from envisions_jax.sampling.shapes import StageShape

Text = str | Sequence[int]  # a text, or its tokens


class Inputs:
    """Prompts and completions for a model, whose tokenizer may be missing where tokens are given.

    What cannot be meant raises ValueError, which names the argument and its value.
    """

    def __init__(self, config: LlamaConfig, tokenizer: Tokenizer | None, eos_ids: Sequence[int]) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.eos_ids = eos_ids

    def prompts(self, prompts: Sequence[Text], room: int) -> list[list[int]]:
        """Their tokens; none is empty, and the context has `room` for so many more behind each."""
        check(not isinstance(prompts, str), "prompts", prompts, "give a list of prompts, even of one")
        check(
            isinstance(prompts, Sequence), "prompts", prompts, "give a list of texts, or of lists of tokens"
        )
        tokens = [
            self._encoded(prompt) if isinstance(prompt, str) else self.tokens(prompt) for prompt in prompts
        ]
        for number, prompt in enumerate(tokens):
            check(len(prompt) > 0, f"prompts[{number}]", "an empty prompt", "give at least one token")
            self.check_length(f"prompts[{number}]", len(prompt) + room)
        return tokens

    def continued(
        self, prompts: Sequence[Text], completions: Sequence[Sequence[Text]], eos: bool
    ) -> tuple[list[list[int]], list[list[list[int]]]]:
        """The tokens of prompts and of their completions, which end in end-of-sequence if `eos`."""
        lengths = f"{len(completions)} lists"
        check(
            len(completions) == len(prompts),
            "completions",
            lengths,
            f"give one for each of {len(prompts)} prompts",
        )
        for number, group in enumerate(completions):
            check(
                not isinstance(group, str),
                f"completions[{number}]",
                repr(group),
                "give a list of completions for each prompt, even of one",
            )
        tokens = self.prompts(prompts, room=0)
        continued = [[self._completion_tokens(text, eos) for text in group] for group in completions]
        for prompt, group in zip(tokens, continued, strict=True):
            longest = max(map(len, group), default=0)
            self.check_length("prompt and completion", len(prompt) + longest)
        return tokens, continued

    def tokens(self, tokens: Sequence[int]) -> list[int]:
        """Token ids of this model, as Python's numbers."""
        are_ids = isinstance(tokens, (Sequence, np.ndarray, jax.Array)) and all(map(is_whole, tokens))
        check(are_ids, "tokens", tokens, "give a text, or a list of whole numbers")
        tokens = [int(token) for token in tokens]
        for token in tokens:
            check(
                0 <= token < self.config.vocab_size,
                "token",
                token,
                f"ids go up to {self.config.vocab_size - 1}",
            )
        return tokens

    def check_decoding(self, max_new_tokens: int, stop: Sequence[str]) -> None:
        """What ends a candidate: texts need a tokenizer."""
        check_count("max_new_tokens", max_new_tokens, "ask for at least one token")
        check(not isinstance(stop, str), "stop", repr(stop), "give a list of texts, even of one")
        check(all(stop), "stop", list(stop), "an empty text would stop everything; leave it out")
        if stop:
            self._need_tokenizer()

    def within_context(self, max_new_tokens: int, prompts: Sequence[Sequence[int]]) -> int:
        """No more than the context leaves after the shortest prompt: keys and values get room for so many."""
        shortest = min(map(len, prompts), default=0)
        return min(max_new_tokens, self.config.max_position_embeddings - shortest)

    def check_length(self, what: str, length: int) -> None:
        """So many tokens have to be within the model's context."""
        context = self.config.max_position_embeddings
        check(
            length <= context,
            what,
            f"{length} tokens",
            f"the model's context is {context} tokens; shorten it",
        )

    def _encoded(self, prompt: str) -> list[int]:
        return self._need_tokenizer().encode(checked_text(prompt))

    def _completion_tokens(self, completion: Text, eos: bool) -> list[int]:
        if not isinstance(completion, str):
            return self.tokens(completion)
        tokens = self._need_tokenizer().encode_completion(checked_text(completion))
        if not eos:
            return tokens
        check(
            len(self.eos_ids) > 0, "eos", eos, "the model names no end-of-sequence token; give tokens instead"
        )
        return [*tokens, self.eos_ids[0]]

    def _need_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise ModelError(
                "this model has no tokenizer: give tokens instead of text, or add tokenizer files"
            )
        return self.tokenizer


def check_row_length(key: str, value: object) -> None:
    """Raise ValueError unless it is the length of rows that `plan_scoring` gave, or 0."""
    is_length = is_whole(value) and value >= 0  # type: ignore[operator]
    check(is_length, key, value, "give what `plan_scoring` gave, or 0 to have it chosen")


def check_shape(shape: StageShape | None, prompts: Sequence[Sequence[int]]) -> None:
    """Prompts that are no part of the planned stage would be sampled behind another prefix."""
    for number, prompt in enumerate(prompts if shape is not None else ()):
        assert shape is not None
        own = len(prompt) - len(shape.prefix)
        check(
            tuple(prompt[: len(shape.prefix)]) == shape.prefix and 1 <= own <= shape.prompt_length,
            "shape",
            f"one that prompts[{number}] does not fit",
            "plan the stage from all of its prompts",
        )


def digest(tokens: Sequence[int]) -> str:
    """Names a prompt by its content, so that equal prompts have equal random streams."""
    return "tokens:" + hashlib.sha256(np.asarray(tokens, np.int32).tobytes()).hexdigest()
