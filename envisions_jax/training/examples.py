"""Training examples: a prompt, the completion to learn, and its loss (paper, equations 4 and 6).

`L1` examples teach a correct program under the task prompt; `L2` examples teach it under the refinement
prompt, which carries a wrong candidate. To the trainer both are the same thing: tokens to read, then
tokens to predict.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

Kind = Literal["L1", "L2"]
KINDS: tuple[Kind, ...] = ("L1", "L2")


@dataclass(frozen=True)
class Example:
    """One sequence to train on.

    Attributes:
        prompt_tokens: what the model reads (with BOS where the model family has one); never empty, since
            the first completion token must be predicted from something.
        completion_tokens: what it learns to write, EOS included. Empty completions are dropped by `truncate`.
        kind: "L1" (positive under the task prompt) or "L2" (positive under the refinement prompt).
        task_id: where it comes from; for reports only.
    """

    prompt_tokens: Sequence[int]
    completion_tokens: Sequence[int]
    kind: Kind = "L1"
    task_id: str = ""

    def __post_init__(self) -> None:
        # Lists are welcome (tokenizers return them), but an example must not change later.
        object.__setattr__(self, "prompt_tokens", tuple(self.prompt_tokens))
        object.__setattr__(self, "completion_tokens", tuple(self.completion_tokens))
        if not self.prompt_tokens:
            raise ValueError(
                f"example of task {self.task_id!r} has an empty prompt; give it at least a BOS token"
            )
        if self.kind not in KINDS:
            raise ValueError(f"example of task {self.task_id!r} has {self.kind=}; it must be one of {KINDS}")

    @property
    def row_tokens(self) -> int:
        """Places it takes in a packed row: all its tokens but the last, which is only ever a target."""
        return len(self.prompt_tokens) + len(self.completion_tokens) - 1


class Truncated(NamedTuple):
    """What `truncate` kept, and how many examples it shortened or dropped."""

    examples: list[Example]
    shortened: int
    dropped: int


def truncate(examples: Iterable[Example], max_length: int) -> Truncated:
    """Cut every example to its first `max_length` tokens; drop those with no completion token left.

    As the paper's code does: the cut is on the right, so a long completion loses its end (and EOS), and an
    example whose prompt alone fills `max_length` has nothing left to learn from. With max_length 5:

        prompt [1 2 3]      completion [7 8 9]  ->  prompt [1 2 3]  completion [7 8]     shortened
        prompt [1 2 3 4 5]  completion [7 8 9]  ->  no target                            dropped
        prompt [1 2 3]      completion []       ->  no target                            dropped
    """
    kept: list[Example] = []
    shortened = dropped = 0
    for example in examples:
        room = max_length - len(example.prompt_tokens)
        completion = example.completion_tokens[: max(room, 0)]
        if not completion:
            dropped += 1
        elif len(completion) < len(example.completion_tokens):
            shortened += 1
            kept.append(Example(example.prompt_tokens, completion, example.kind, example.task_id))
        else:
            kept.append(example)
    return Truncated(kept, shortened, dropped)


def epoch_batches(num_examples: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Indices of the examples of each optimiser step of one epoch, in a random order given by (seed, epoch).

    Every example comes once. Where `batch_size` does not divide `num_examples` all batches are made
    (almost) equally large instead of leaving a small last one, whose few examples would weigh as much as a
    whole batch of others.
    """
    order = np.random.default_rng([seed, epoch]).permutation(num_examples)
    return np.array_split(order, max(1, -(-num_examples // batch_size)))


def all_batches(num_examples: int, batch_size: int, seed: int, epochs: int) -> list[np.ndarray]:
    """The examples' indices for every step of every epoch."""
    return [
        batch for epoch in range(epochs) for batch in epoch_batches(num_examples, batch_size, seed, epoch)
    ]


def fingerprint_examples(examples: Iterable[Example]) -> str:
    """Hex digest of all tokens and kinds, in order."""
    digest = hashlib.sha256()
    for example in examples:
        for tokens in (example.prompt_tokens, example.completion_tokens):
            digest.update(len(tokens).to_bytes(8, "little"))
            digest.update(np.asarray(tokens, np.int64).tobytes())
        digest.update(example.kind.encode())
    return digest.hexdigest()
