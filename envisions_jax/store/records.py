"""The records of the trajectory store, as plain data.

A trajectory is the paper's τ = (x, a, b, r): task, candidate, binary reward (from the typed outcome) and
self-reward.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from envs.base import OUTCOME_KINDS, OutcomeKind

Stage = Literal["explore", "refine"]
Value = str | int | float | None

# Numbers of the policies that no iteration has trained, where the store and the metrics ask for an iteration.
BASE = -1  # the base model, theta_0
COLD_START = -2  # theta_0 trained on demonstrations, if a run starts from these

STAGES: tuple[str, ...] = get_args(Stage)
OUTCOMES: tuple[str, ...] = OUTCOME_KINDS
# Characters of what a program printed, or its actions did, that are kept for a reader.
MOST_OUTPUT = 2_000


def trajectory_id(iteration: int, stage: str, task_id: str, k: int) -> str:
    """The id of a candidate, the same in a resumed and in an uninterrupted run.

    `trajectory_id(2, "refine", "gsm8k/7", 4) == "2/refine/4/gsm8k/7"`: the task comes last as it may
    contain slashes.
    """
    return f"{iteration}/{stage}/{k}/{task_id}"


class Shard(NamedTuple):
    """A part of a stage that is written in one transaction. `number` counts from 0 within (iteration,
    stage)."""

    iteration: int
    stage: str
    number: int


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One candidate for one task, executed.

    `text` is the canonical program (what was executed, shown in a refinement prompt and compared for
    duplicates), `completion` what the model wrote, `output` what the program printed or its actions did (at
    most 2,000 characters). `log_prob_sum` is the sum of the log-probs of the
    `num_tokens` sampled tokens under the prompt they were sampled from (nats, temperature 1); `self_reward`
    is the mean log-prob r(a) that ranks, −inf for an empty generation and None until it is scored. `parent`
    is the id of the exploration that a refinement refines. `time` (seconds since the epoch) is stamped by
    the store.

    Raises ValueError on an unknown stage or outcome, negative indices, or a self-reward that is NaN or +inf.
    """

    iteration: int
    stage: Stage
    task_id: str
    k: int
    text: str
    outcome: OutcomeKind
    completion: str = ""
    tokens: Sequence[int] = ()
    num_tokens: int = -1
    value: Value = None
    error: str = ""
    output: str = ""
    self_reward: float | None = None
    log_prob_sum: float | None = None
    finish_reason: str = ""
    seed: int = 0
    parent: str | None = None
    time: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ValueError(f"stage={self.stage!r}: expected one of {', '.join(STAGES)}")
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome={self.outcome!r}: expected one of {', '.join(OUTCOMES)}")
        if self.iteration < 0 or self.k < 0:
            raise ValueError(f"iteration={self.iteration}, k={self.k}: both count from 0")
        if not -(2**63) <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed}: expected a 64-bit signed integer")
        check_log_prob("self_reward", self.self_reward)
        check_log_prob("log_prob_sum", self.log_prob_sum)
        # Frozen: the only places where fields are normalised.
        object.__setattr__(self, "output", self.output[:MOST_OUTPUT])
        object.__setattr__(self, "tokens", tuple(int(token) for token in self.tokens))
        if self.num_tokens < 0:
            object.__setattr__(self, "num_tokens", len(self.tokens))

    @property
    def id(self) -> str:
        return trajectory_id(self.iteration, self.stage, self.task_id, self.k)

    @property
    def correct(self) -> bool:
        """The binary reward b of the paper."""
        return self.outcome == "correct"


@dataclass(frozen=True, kw_only=True)
class StoredTask:
    """A task as the store remembers it, so that a report needs no data set. `position` is its order in its
    split."""

    split: str
    position: int
    id: str
    question: str
    answer: Value
    context: str = ""
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """The one deterministic answer of a checkpoint to a test task.

    `iteration` is that of the checkpoint evaluated (trained on the data of iterations 0..iteration), or
    `BASE` or `COLD_START`. `prompt` tells few-shot from zero-shot, so that the base model can be evaluated
    both ways.
    """

    iteration: int
    test_set: str
    task_id: str
    program: str
    outcome: OutcomeKind
    prompt: str = "zero_shot"
    completion: str = ""
    value: Value = None
    error: str = ""
    output: str = ""

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome={self.outcome!r}: expected one of {', '.join(OUTCOMES)}")
        if self.iteration < COLD_START:
            raise ValueError(
                f"iteration={self.iteration}: expected a checkpoint's iteration ≥ 0, −1 (base model) or −2 "
                "(cold start)"
            )
        object.__setattr__(self, "output", self.output[:MOST_OUTPUT])

    @property
    def correct(self) -> bool:
        return self.outcome == "correct"


@dataclass(frozen=True, kw_only=True)
class SelectedExample:
    """One training example of an iteration: kind "L1" (positive) or "L2" (positive, negative), by
    trajectory id."""

    iteration: int
    kind: Literal["L1", "L2"]
    position: int
    task_id: str
    positive: str
    negative: str | None = None


def check_log_prob(name: str, value: float | None) -> None:
    """Raises ValueError unless `value` is None, finite, or −inf (an empty generation)."""
    if value is not None and (math.isnan(value) or value == math.inf):
        raise ValueError(f"{name}={value}: expected a finite number, or -inf for an empty generation")
