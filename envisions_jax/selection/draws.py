"""The two orders that candidates are compared by: their self-reward, and a reproducible draw."""

import hashlib

from envisions_jax.store.records import Trajectory


def draw(seed: int, purpose: str, iteration: int, name: str) -> str:
    """A random-looking key (hex) that depends on its arguments alone: sorting by it shuffles, whatever the
    order was."""
    return hashlib.sha256(
        f"{seed}/{purpose}/{iteration}/{name}".encode("utf-8", "backslashreplace")
    ).hexdigest()


def reward_of(trajectory: Trajectory) -> float:
    """The self-reward r(a) of equation 1. Raises ValueError if it was not computed yet."""
    if trajectory.self_reward is None:
        raise ValueError(f"{trajectory.id}: has no self-reward yet; score it before filtering and ranking")
    return trajectory.self_reward
