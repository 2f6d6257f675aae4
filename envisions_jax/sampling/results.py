"""What the sampler and the beam search hand back."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

FinishReason = Literal["eos", "stop", "length"]
MOST_BEAMS = 256  # of one prompt: all are decoded side by side


@dataclasses.dataclass(frozen=True, eq=False)
class Generation:
    """One sampled candidate.

    Attributes:
      text: the decoded tokens without the end-of-sequence token, cut before the stop string.
      tokens: all that was sampled, the end-of-sequence token or the tokens of the stop string included.
      log_probs: float32, one for each of `tokens`: log π(token | before it) at temperature 1 over the
        full vocabulary, whatever temperature and nucleus it was sampled with.
      finish_reason: "eos", "stop" (a stop string came up) or "length" (cut off at the limit).
    """

    text: str
    tokens: list[int]
    log_probs: np.ndarray
    finish_reason: FinishReason

    @property
    def mean_log_prob(self) -> float:
        """The paper's self-reward (equation 1, nats per token) under the prompt that produced it; −inf for a
        text that says nothing, whose terminator alone would else be the most probable of all."""
        return float(self.log_probs.mean()) if self.text.strip() else float("-inf")


@dataclasses.dataclass(frozen=True)
class Beam:
    """One sequence found by beam search; `score` is its log-probability divided by its token count."""

    text: str
    tokens: list[int]
    score: float
    finish_reason: FinishReason
