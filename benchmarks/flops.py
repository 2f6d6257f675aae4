"""Floating-point operations that a LLaMA's work cannot do without: the floor under every clock.

A product of [m k] and [k n] counts 2·m·k·n. Norms, rotations, softmax and the optimiser are left out, and
so is everything that a better algorithm would not compute: padding, prompts computed twice, logits of
tokens that nobody asked for.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from envisions_jax.models.config import LlamaConfig
from envisions_jax.training import Example

BACKWARD = 2  # a backward pass: one product for the inputs' gradient, one for the weights'


@dataclasses.dataclass(frozen=True)
class ModelCost:
    """Costs of one model, forward."""

    config: LlamaConfig

    @property
    def weights(self) -> int:
        """Weights that every token is multiplied with: all but the embedding and the output matrix."""
        c = self.config
        query = c.hidden_size * c.num_heads * c.head_dim
        key = c.hidden_size * c.num_kv_heads * c.head_dim
        return c.num_layers * (2 * query + 2 * key + 3 * c.hidden_size * c.intermediate_size)

    @property
    def bytes(self) -> float:
        """Of all weights that a decoding step reads, in float32."""
        return 4.0 * (self.weights + self.config.hidden_size * self.config.vocab_size)

    def cached_bytes(self, tokens: int) -> float:
        """Of the keys and values of so many tokens, in float32."""
        c = self.config
        return 2 * 4.0 * c.num_layers * c.num_kv_heads * c.head_dim * tokens

    def span(self, start: int, count: int) -> float:
        """`count` tokens of one sequence from position `start` on, without their logits.

        The token at position p attends to p + 1 keys and as many values.
        """
        c = self.config
        seen = sum(range(start + 1, start + count + 1))
        return 2.0 * self.weights * count + 4.0 * c.num_layers * c.num_heads * c.head_dim * seen

    def beginnings(self, sequences: Iterable[Sequence[int]]) -> float:
        """All tokens of `sequences`, what some of them begin with alike once; without logits."""
        flops, before = 0.0, tuple[int, ...]()
        for sequence in sorted(map(tuple, sequences)):  # neighbours have the longest beginnings in common
            same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before, sequence, strict=False))
            shared = sum(1 for _ in same)
            flops += self.span(shared, len(sequence) - shared)
            before = sequence
        return flops

    def prompts(self, prompts: Sequence[Sequence[int]]) -> float:
        """Each prompt once, what they begin with alike once, and the logits after each."""
        return self.beginnings(prompts) + self.logits(len({*map(tuple, prompts)}))

    def candidates(self, prompts: Sequence[Sequence[int]], lengths: Sequence[Sequence[int]]) -> float:
        """Of each candidate behind `prompts` all tokens but the last, with the logits after them.

        lengths: tokens of each candidate of each prompt.
        """
        return sum(
            self.span(len(prompt), length - 1) + self.logits(length - 1)
            for prompt, group in zip(prompts, lengths, strict=True)
            for length in group
        )

    def scoring(self, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]) -> float:
        """A completion of each prompt; what texts begin with alike once, the logits after it too."""
        pairs = [(tuple(p), tuple(c)) for p, c in zip(prompts, completions, strict=True) if len(c)]
        texts = {prompt + said[:end] for prompt, said in pairs for end in range(len(said))}
        return self.beginnings((*prompt, *said[:-1]) for prompt, said in pairs) + self.logits(len(texts))

    def training(self, steps: Iterable[Sequence[Example]]) -> float:
        """Every token of a step forward and back, what its examples begin with alike once, and logits and
        their gradients at targets only.
        """
        forward = 0.0
        for examples in steps:
            rows = [(*example.prompt_tokens, *example.completion_tokens)[:-1] for example in examples]
            targets = sum(len(example.completion_tokens) for example in examples)
            forward += self.beginnings(rows) + self.logits(targets)
        return (1 + BACKWARD) * forward

    def logits(self, count: int) -> float:
        """The logits after `count` tokens."""
        return 2.0 * self.config.hidden_size * self.config.vocab_size * count
