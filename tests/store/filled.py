"""A store with something in it."""

from pathlib import Path

from envisions_jax.store import Shard, TrajectoryStore
from envs import Task
from tests.trajectories import candidate

CONFIG = {"seed": 0, "sampler": {"k": 5, "temperature": 0.7}}


def fill(path: Path) -> TrajectoryStore:
    """Two tasks with three explorations each, open for more."""
    store = TrajectoryStore(path, config=CONFIG)
    store.add_tasks("train", [Task("z", "zebra?", 1), Task("a", "apple?", "1/2", "context", {"level": 2})])
    for number, task in enumerate("za"):
        rows = [candidate(task, k, "correct" if k else "wrong", -1.0 - k) for k in range(3)]
        store.add_many(rows, shard=Shard(0, "explore", number))
    store.mark_done(0, "explore")
    return store
