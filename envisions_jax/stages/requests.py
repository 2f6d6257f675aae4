"""What is asked of a policy in steps 1 and 3, and what came of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envisions_jax.sampling.results import Generation
from envisions_jax.stages.turns import Turn
from envisions_jax.store import Shard, Trajectory
from envs import Outcome, Task


@dataclass(frozen=True)
class Request:
    """One prompt to sample from: `count` candidates, numbered from `first_k`."""

    task: Task
    prompt: str
    name: str  # of its random stream
    count: int
    first_k: int = 0
    attempt: Trajectory | None = None  # the exploration that is refined


@dataclass(frozen=True, eq=False)
class Candidate:
    """One sampled candidate, before it is executed."""

    request: Request
    k: int
    turns: Sequence[Turn[Generation]]
    completion: str
    program: str
    self_reward: float

    @property
    def generations(self) -> list[Generation]:
        """What was sampled, turn by turn."""
        return [turn.said for turn in self.turns]

    def trajectory(self, shard: Shard, seed: int, outcome: Outcome) -> Trajectory:
        """What the store keeps of it, with what the environment made of it."""
        request, generations = self.request, self.generations
        log_probs = np.concatenate([generation.log_probs for generation in generations])
        return Trajectory(
            iteration=shard.iteration,
            stage=shard.stage,  # type: ignore[arg-type]
            task_id=request.task.id,
            k=self.k,
            text=self.program,
            completion=self.completion,
            tokens=[token for generation in generations for token in generation.tokens],
            outcome=outcome.kind,
            value=outcome.value,
            error=outcome.error,
            output=outcome.output,
            self_reward=self.self_reward,
            log_prob_sum=math.fsum(log_probs.tolist()),
            finish_reason=generations[-1].finish_reason,
            seed=seed,
            parent=None if request.attempt is None else request.attempt.id,
        )
