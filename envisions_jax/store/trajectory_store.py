"""Writing and reading a run's trajectories, filter decisions, training selections and evaluation results."""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

from envisions_jax.store import rows
from envisions_jax.store.database import Database
from envisions_jax.store.errors import StoreError
from envisions_jax.store.records import (
    EvaluationResult,
    SelectedExample,
    Shard,
    StoredTask,
    Trajectory,
)
from envisions_jax.store.schema import canonical_json
from envs import Task

_SETTLED = "settled: "
_WHOLE_STAGE = -1  # `shard` of the progress row that says a stage is finished.


class TrajectoryStore(Database):
    """SQLite file of one run. Every `add_…`/`record_…` call is one transaction, and may be repeated.

    A record that is already there with the same content (times aside) is left alone, one with another
    content raises `StoreConflictError`, because a resumed run has to repeat itself exactly. One process
    writes at a time; any number read (`read_only=True`), also during a run. Methods may be called from
    several threads.

    Args:
      path: the file; created, with its folder, if missing (not when read only).
      config: JSON-able settings that identify the run. Kept in a new store; an existing store with other
        settings raises `StoreConfigError` naming the keys. Leave out what may change on resume.
      defaults: what settings were before they could be set: of those, an older store need not name any.
      busy_timeout_s: how long to wait for another process's transaction.
    """

    # ---- Writing -------------------------------------------------------------------------------------------

    def add_tasks(self, split: str, tasks: Iterable[Task]) -> None:
        """Remembers the tasks of `split` ("train", or a test set's name) in order; later calls append."""
        with self._transaction():
            position = self._one("SELECT count(*) FROM tasks WHERE split=?", split)
            for task in tasks:
                row = rows.task_row(split, position, task)
                position += self._insert("tasks", row, key=("split", "id"), ignore=("position",))

    def add_many(self, trajectories: Iterable[Trajectory], *, shard: Shard | None = None) -> None:
        """Writes the trajectories of a shard and, in the same transaction, that the shard is done."""
        with self._transaction():
            for trajectory in trajectories:
                if shard is not None and (trajectory.iteration, trajectory.stage) != shard[:2]:
                    raise StoreError(f"{self.path}: {trajectory.id} does not belong to {shard}")
                self._insert("trajectories", rows.trajectory_row(trajectory, time.time()), key=("id",))
            self._mark(shard)

    def record_kept(self, iteration: int, kept: Iterable[Trajectory]) -> None:
        """Remembers what the filter kept in `iteration`: for each (task, k) one trajectory of that
        iteration."""
        with self._transaction():
            for trajectory in kept:
                if trajectory.iteration != iteration:
                    raise StoreError(f"{self.path}: {trajectory.id} cannot be kept in iteration {iteration}")
                row = {
                    "iteration": iteration,
                    "task_id": rows.storable(trajectory.task_id),
                    "k": trajectory.k,
                    "trajectory_id": rows.storable(trajectory.id),
                }
                self._insert("kept", row, key=("iteration", "task_id", "k"))

    def record_selected(self, examples: Iterable[SelectedExample]) -> None:
        """Remembers the training set of an iteration."""
        with self._transaction():
            for example in examples:
                self._insert("selected", rows.fields_of(example), key=("iteration", "kind", "position"))

    def add_evaluations(self, results: Iterable[EvaluationResult], *, shard: Shard | None = None) -> None:
        with self._transaction():
            for result in results:
                row = rows.evaluation_row(result, time.time())
                self._insert("evaluations", row, key=("iteration", "test_set", "prompt", "task_id"))
            self._mark(shard)

    def mark_done(self, iteration: int, stage: str) -> None:
        """Says that a whole stage ("explore", "refine", …) is finished."""
        with self._transaction():
            self._mark(Shard(iteration, stage, _WHOLE_STAGE))

    def settle(self, key: str, value: object) -> None:
        """Remembers what the rest of the run goes by, JSON-able, in place of what was there."""
        with self._transaction():
            self._connection.execute(
                "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value=?2",
                (_SETTLED + key, canonical_json(value)),
            )

    def serialized(self) -> bytes:
        """The file's content, for a copy of the store as it is now."""
        with self._guard:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return self._connection.serialize()

    # ---- Reading -------------------------------------------------------------------------------------------

    def is_done(self, iteration: int, stage: str) -> bool:
        query = "SELECT count(*) FROM progress WHERE iteration=? AND stage=? AND shard=?"
        return self._one(query, iteration, stage, _WHOLE_STAGE) == 1

    def done_shards(self, iteration: int, stage: str) -> set[int]:
        query = "SELECT shard FROM progress WHERE iteration=? AND stage=? AND shard>=0"
        return {row[0] for row in self._rows(query, iteration, stage)}

    def settled(self, key: str) -> Any:
        """What `settle` remembered last; None if nothing."""
        found = self._rows("SELECT value FROM meta WHERE key=?", _SETTLED + key)
        return json.loads(found[0][0]) if found else None

    def tasks(self, split: str) -> list[StoredTask]:
        query = "SELECT * FROM tasks WHERE split=? ORDER BY position"
        return [rows.to_task(row) for row in self._dicts(query, split)]

    def trajectories(
        self,
        iteration: int | None = None,
        stage: str | None = None,
        *,
        up_to: int | None = None,
        tokens: bool = True,
    ) -> list[Trajectory]:
        """Trajectories in canonical order: iteration, stage (explorations first), order of the tasks, k.

        Of one `iteration`, or of all iterations ≤ `up_to`; `tokens=False` leaves their tokens out to save
        memory.
        """
        where, values = ["1"], []
        for condition, value in (
            ("t.iteration=?", iteration),
            ("t.stage=?", stage),
            ("t.iteration<=?", up_to),
        ):
            if value is not None:
                where.append(condition)
                values.append(value)
        query = rows.select_trajectories(tokens, "trajectories t", " AND ".join(where))
        return [rows.to_trajectory(row) for row in self._dicts(query, *values)]

    def kept(self, iteration: int) -> list[Trajectory]:
        """What the filter kept in `iteration`, in canonical order, without tokens."""
        return self._kept("q.iteration=?", iteration)

    def pool(self, up_to_iteration: int) -> list[Trajectory]:
        """What the filter kept in all iterations ≤ `up_to_iteration`, in canonical order, without tokens."""
        return self._kept("q.iteration<=?", up_to_iteration)

    def selected(self, iteration: int) -> list[SelectedExample]:
        query = "SELECT * FROM selected WHERE iteration=? ORDER BY kind, position"
        return [SelectedExample(**row) for row in self._dicts(query, iteration)]

    def evaluations(
        self, iteration: int | None = None, test_set: str | None = None, prompt: str | None = None
    ) -> list[EvaluationResult]:
        """Evaluation results in order of (iteration, test set, prompt, order of the tasks)."""
        query = (
            "SELECT e.* FROM evaluations e LEFT JOIN tasks p ON p.split=e.test_set AND p.id=e.task_id "
            "WHERE (?1 IS NULL OR e.iteration=?1) AND (?2 IS NULL OR e.test_set=?2) "
            "AND (?3 IS NULL OR e.prompt=?3) "
            "ORDER BY e.iteration, e.test_set, e.prompt, p.position, e.task_id"
        )
        return [rows.to_evaluation(row) for row in self._dicts(query, iteration, test_set, prompt)]

    def solved(self, iteration: int, *, after_refinement: bool = True) -> set[str]:
        """Ids of the tasks solved in `iteration`; by explorations alone if not `after_refinement`."""
        query = "SELECT DISTINCT task_id FROM trajectories WHERE iteration=? AND outcome='correct'"
        if not after_refinement:
            query += " AND stage='explore'"
        return {row[0] for row in self._rows(query, iteration)}

    # ---- Comparing runs ------------------------------------------------------------------------------------

    def dump(self) -> Iterator[tuple[object, ...]]:
        """Everything the run decided, as tuples in canonical order, without times, shards and settings.

        A resumed run and an uninterrupted one give the same dump, bit for bit.
        """
        for table, key in rows.DUMP_ORDER.items():
            where = f"shard={_WHOLE_STAGE}" if table == "progress" else "1"
            for row in self._dicts(f"SELECT * FROM {table} WHERE {where} ORDER BY {key}"):
                yield (table, *(value for name, value in row.items() if name != "time"))

    def digest(self) -> str:
        """SHA-256 of `dump()`."""
        total = hashlib.sha256()
        for row in self.dump():
            total.update(repr(row).encode("utf-8", "backslashreplace") + b"\n")
        return total.hexdigest()

    def _kept(self, where: str, value: int) -> list[Trajectory]:
        source = "kept q JOIN trajectories t ON t.id=q.trajectory_id"
        query = rows.select_trajectories(
            False, source, where, order="t.iteration, p.position, t.task_id, t.k"
        )
        return [rows.to_trajectory(row) for row in self._dicts(query, value)]

    def _mark(self, shard: Shard | None) -> None:
        if shard is not None:
            row = {
                "iteration": shard.iteration,
                "stage": shard.stage,
                "shard": shard.number,
                "time": time.time(),
            }
            self._insert("progress", row, key=("iteration", "stage", "shard"))
