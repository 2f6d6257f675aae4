"""The few array shapes that sampling and scoring are compiled for.

Lengths are rounded up a ladder. A stage fixes its shape from *all* its prompts before it samples the
first (`plan`), so that shards of one stage, and a stage that was killed and resumed, run the very same
programs and give the very same bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

# Each rung that a run meets costs a compilation: few for the prefix, which a stage computes once.
PREFIX_LADDER = (256, 1024, 4096, 16384)
# Powers of two, and half-way between the smaller ones: at most a third of a rung is padding there. Every
# decoded token reads the padding of prompts (80 slots: 128 places take 1.2 times as long as 64).
LENGTH_LADDER = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192, 16384, 32768)
ROW_LENGTH = 256  # of rows that hold trees of tokens, where none is longer: short enough for cheap attention
PREFILL_TOKENS = 512  # prompt tokens computed in one call: enough to keep the matrix units busy


def rung(length: int, ladder: Sequence[int] = LENGTH_LADDER) -> int:
    """The lowest rung that holds `length`; beyond the ladder the next multiple of its last rung.

    >>> rung(33), rung(0), rung(40000)
    (48, 32, 65536)
    """
    for step in ladder:
        if length <= step:
            return step
    return -(-length // ladder[-1]) * ladder[-1]


@dataclasses.dataclass(frozen=True)
class StageShape:
    """What all prompts of a stage have in common.

    Attributes:
      prefix: the tokens that every prompt of the stage begins with; computed once a stage.
      prompt_length: room, in tokens, for what follows the prefix.
      new_length: room for sampled tokens.
      prefill_rows: rows of prompts that are computed in one call.
    """

    prefix: tuple[int, ...]
    prompt_length: int
    new_length: int
    prefill_rows: int = 1

    @property
    def prefix_length(self) -> int:
        """Room for the prefix, padding included."""
        return rung(len(self.prefix), PREFIX_LADDER)

    @property
    def row_length(self) -> int:
        """Length of the rows that prompts are packed into for prefill."""
        return _row_length(self.prompt_length)


def _row_length(prompt_length: int) -> int:
    """Room for two of the longest prompts, or half of a row could be padding; long ones lie alone."""
    return max(ROW_LENGTH, 2 * prompt_length if prompt_length <= PREFILL_TOKENS else prompt_length)


def plan(prompts: Sequence[Sequence[int]], max_new_tokens: int) -> StageShape:
    """The shape of a stage that samples from `prompts`, each a sequence of at least one token."""
    prefix = common_prefix(prompts)
    own = [len(prompt) - len(prefix) for prompt in prompts]
    prompt_length = rung(max(own))
    row_length = _row_length(prompt_length)
    rows = min(max(1, PREFILL_TOKENS // row_length), -(-sum(own) // row_length))
    return StageShape(tuple(prefix), prompt_length, rung(max_new_tokens), rows)


def common_prefix(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The longest common beginning that leaves every prompt at least one token of its own.

    >>> common_prefix([[1, 2, 3], [1, 2, 4, 5]]), common_prefix([[1, 2]])
    ([1, 2], [1])
    """
    rows = [tuple(prompt) for prompt in prompts]
    first, last = min(rows), max(rows)  # in lexicographic order these two differ the earliest
    limit = min(len(prompt) for prompt in prompts) - 1
    length = 0
    while length < limit and first[length] == last[length]:
        length += 1
    return list(first[:length])
