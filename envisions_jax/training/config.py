"""Settings of one training, and the learning rate they give each step."""

import dataclasses
import math

ROW_LENGTHS = tuple(range(288, 481, 32))
"""Those that are chosen from on CPU, where SmolLM2 takes 6.1 ms a token in rows of 256, 5.0 in rows of 320,
4.4 in rows of 448 and 4.7 in rows of 512; longer ones take more memory."""

ROW_LENGTHS_OF_ACCELERATORS = (256, 384, 512)
"""Whose attention takes multiples of 128."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The paper's settings by default; `row_length` and `rows` are shapes and do not change what is learned.

    Attributes:
        learning_rate: peak rate, reached after warm-up; decays linearly to 0 at the end.
        batch_size: most examples in an optimiser step.
        epochs: passes over the examples (paper: 1 for math, 2 for logic and web).
        warmup_ratio: share of the steps with a rising rate.
        clip_norm: the gradient is scaled down to this global norm if it is larger.
        weight_decay: decoupled, as in AdamW.
        row_length: tokens of a packed row; 0: that of `row_lengths` in which the examples cost least.
            Examples that do not fit use rows twice, four times, ... as long.
        rows: rows of a microbatch. Microbatches bound memory; more than a step needs is wasted.
        max_length: longer examples are cut on the right.
        remat: recompute each layer's activations in the backward pass: about a third more work, far less
            memory.
        lora_rank: 0 trains all weights; else LoRA adapters of this rank, in all linear maps of the layers.
        lora_alpha: adapters are multiplied by `lora_alpha / lora_rank`.
        checkpoint_every_steps: optimiser steps between mid-training checkpoints; 0 writes none.
        keep: how many of them are kept.
    """

    learning_rate: float = 2e-5
    batch_size: int = 128
    epochs: int = 1
    warmup_ratio: float = 0.03
    clip_norm: float = 1.0
    weight_decay: float = 0.0
    row_length: int = 0
    rows: int = 4
    max_length: int = 2048
    remat: bool = False
    lora_rank: int = 0
    lora_alpha: float = 32.0
    checkpoint_every_steps: int = 50
    keep: int = 2

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "rows", "keep"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("learning_rate", "clip_norm", "lora_alpha"):
            is_good = 0 < getattr(self, name) < math.inf
            _require(is_good, name, getattr(self, name), "positive and finite")
        for name in ("weight_decay", "row_length", "checkpoint_every_steps", "lora_rank"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _require(0 <= self.warmup_ratio <= 1, "warmup_ratio", self.warmup_ratio, "between 0 and 1")
        # A target and something to predict it from.
        _require(self.max_length >= 2, "max_length", self.max_length, "at least 2")

    @property
    def lora_scale(self) -> float:
        """What adapters are multiplied by."""
        return self.lora_alpha / max(1, self.lora_rank)


def row_lengths(platform: str) -> tuple[int, ...]:
    """What the length of rows is chosen from, ascending."""
    return ROW_LENGTHS if platform == "cpu" else ROW_LENGTHS_OF_ACCELERATORS


def longest_row(row_length: int, platform: str) -> int:
    """The length of rows: `row_length`, or where that is 0 the longest that may be chosen."""
    return row_length or row_lengths(platform)[-1]


def learning_rate(config: TrainConfig, step: int, num_steps: int) -> float:
    """Rate of `step` (from 0) of `num_steps`: linear up over the warm-up, then linear down, never 0.

    Unlike `transformers`, whose first step has rate 0: with the few steps of an iteration here that would
    waste one. With 4 steps and 1 of warm-up the peak is multiplied by 1/2, 3/3, 2/3, 1/3.
    """
    warmup = math.ceil(config.warmup_ratio * num_steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    return config.learning_rate * (num_steps - step) / (num_steps - warmup)


def _require(holds: bool, name: str, value: object, what: str) -> None:
    if not holds:
        raise ValueError(f"TrainConfig.{name} must be {what}, not {value!r}")
