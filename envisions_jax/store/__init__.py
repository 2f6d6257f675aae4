"""The trajectory store: everything a run did, in one SQLite file that a resume, a report and a viewer read.

    with TrajectoryStore(work_dir / "trajectories.sqlite", config=fingerprinted) as store:
        store.add_tasks("train", tasks)
        for number, shard in enumerate(shards):
            if number not in store.done_shards(iteration, "explore"):
                store.add_many(explore(shard), shard=Shard(iteration, "explore", number))
        store.mark_done(iteration, "explore")

Append-only, one transaction per shard; `kill -9` at any moment loses at most the shard that was being
written.
"""

from envisions_jax.store.errors import (
    StoreConfigError,
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreVersionError,
)
from envisions_jax.store.records import (
    EvaluationResult,
    SelectedExample,
    Shard,
    StoredTask,
    Trajectory,
    trajectory_id,
)
from envisions_jax.store.schema import SCHEMA_VERSION, check_free, fingerprint
from envisions_jax.store.trajectory_store import TrajectoryStore

__all__ = [
    "SCHEMA_VERSION",
    "EvaluationResult",
    "SelectedExample",
    "Shard",
    "StoreConfigError",
    "StoreConflictError",
    "StoreCorruptError",
    "StoreError",
    "StoreFullError",
    "StoreLockedError",
    "StoreVersionError",
    "StoredTask",
    "Trajectory",
    "TrajectoryStore",
    "check_free",
    "fingerprint",
    "trajectory_id",
]
