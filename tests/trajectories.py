"""Short ways to write trajectories in tests."""

from envisions_jax.store import Trajectory


def candidate(
    task: str = "a",
    k: int = 0,
    outcome: str = "correct",
    reward: float | None = -1.0,
    *,
    iteration: int = 0,
    stage: str = "explore",
    text: str | None = None,
) -> Trajectory:
    """A trajectory whose text, unless given, is its own id."""
    return Trajectory(
        iteration=iteration,
        stage=stage,  # type: ignore[arg-type]
        task_id=task,
        k=k,
        outcome=outcome,  # type: ignore[arg-type]
        self_reward=reward,
        text=f"{iteration}/{stage}/{k}/{task}" if text is None else text,
        completion=f" {k}",
        tokens=(k, 49151, 2),
        log_prob_sum=-3.0,
        finish_reason="eos",
        seed=7,
        parent=f"{iteration}/explore/{k}/{task}" if stage == "refine" else None,
    )
