"""The settings of the selection: the paper's rules, the released code's (`config_reference`), ablations."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """How training examples are chosen. The defaults are the paper's rules.

    Attributes:
      n1: at most so many L1 examples per task.
      n2: at most so many L2 pairs per task.
      filter: "environment", or "none": the control, which never looks at a verdict (see `select`).
      rank: order of positives and of negatives by "self_reward", or "random" (ablation w/o self-reward).
      pool: False forgets earlier iterations (ablation w/o pool).
      l2: False makes no pairs (ablation w/o L2); the L1 examples stay the same.
      merge: when a slot's exploration and refinement are both wrong, "paper" keeps the one with the higher
        self-reward, "reference" the exploration.
      hold_back: True keeps the lowest of the selected positives out of L1 for the pairs (released code).
      dedup: one candidate per text and "task", or "global" (across tasks, first seen wins), or "none".
      quote_question_iterations: in so many first iterations a correct program that does not quote its
        question counts as a negative (released code, math: 3).
    """

    n1: int = 10
    n2: int = 2
    filter: Literal["environment", "none"] = "environment"
    rank: Literal["self_reward", "random"] = "self_reward"
    pool: bool = True
    l2: bool = True
    merge: Literal["paper", "reference"] = "paper"
    hold_back: bool = False
    dedup: Literal["task", "global", "none"] = "task"
    quote_question_iterations: int = 0

    def __post_init__(self) -> None:
        _check("n1", self.n1, self.n1 >= 1, "at least 1")
        _check("n2", self.n2, self.n2 >= 0, "at least 0")
        _check("filter", self.filter, self.filter in ("environment", "none"), "environment or none")
        _check("rank", self.rank, self.rank in ("self_reward", "random"), "self_reward or random")
        _check("merge", self.merge, self.merge in ("paper", "reference"), "paper or reference")
        _check("dedup", self.dedup, self.dedup in ("task", "global", "none"), "task, global or none")
        quoting = self.quote_question_iterations
        _check("quote_question_iterations", quoting, quoting >= 0, "at least 0")


def _check(name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"selection.{name} = {value!r}: expected {expected}")
