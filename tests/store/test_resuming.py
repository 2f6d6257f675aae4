"""Shards are there wholly or not at all, also after kill -9; what is repeated changes nothing."""

import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from envisions_jax.store import (
    Shard,
    StoreConflictError,
    StoreError,
    TrajectoryStore,
)
from envs import Task
from tests.store.filled import fill
from tests.store.writer import finish, kill, start_writer
from tests.trajectories import candidate


def test_a_shard_is_written_wholly_or_not_at_all(path: Path) -> None:
    def failing() -> object:
        yield candidate(k=7)
        yield candidate(k=8)
        raise RuntimeError("the sampler fell over")

    with fill(path) as store:
        before = store.digest()
        with pytest.raises(RuntimeError, match="fell over"):
            store.add_many(failing(), shard=Shard(0, "explore", 2))  # type: ignore[arg-type]
        with pytest.raises(StoreError, match="does not belong to Shard"):
            store.add_many([candidate(k=7), candidate(iteration=1)], shard=Shard(0, "explore", 2))
        assert store.digest() == before
        assert store.done_shards(0, "explore") == {0, 1}
        assert {(t.task_id, t.k) for t in store.trajectories()} == {(t, k) for t in "za" for k in range(3)}


def test_writing_the_same_again_changes_nothing_and_something_else_is_refused(path: Path) -> None:
    fill(path).close()
    with TrajectoryStore(path) as store:
        before, times = store.digest(), [t.time for t in store.trajectories()]
    with fill(path) as store:
        assert store.digest() == before and [t.time for t in store.trajectories()] == times
        with pytest.raises(
            StoreConflictError, match=r"0/explore/0/z.*another outcome: 'wrong' there, 'correct' now"
        ):
            store.add_many([candidate("new", 0), candidate("z", 0, "correct", -1.0)])
        assert store.digest() == before
        assert store.is_done(0, "explore") and not store.is_done(0, "refine")


def test_dump_forgets_times_and_shards_but_nothing_else(tmp_path: Path) -> None:
    with fill(tmp_path / "one") as one, TrajectoryStore(tmp_path / "two", config={"other": 1}) as two:
        two.add_tasks("train", [Task("z", "zebra?", 1), Task("a", "apple?", "1/2", "context", {"level": 2})])
        for k in (2, 0, 1):  # Other shards, in another order, a second later.
            rows = [replace(candidate(t, k, "correct" if k else "wrong", -1.0 - k), time=1.0) for t in "az"]
            two.add_many(rows)
        assert one.digest() != two.digest()  # The stage is not done yet.
        two.mark_done(0, "explore")
        assert list(one.dump()) == list(two.dump())
        two.add_many([candidate("z", 3, reward=-0.0)])
        assert one.digest() != two.digest()


def test_what_is_settled_holds_for_the_next_start_and_is_no_result(path: Path) -> None:
    with fill(path) as store:
        before = store.digest()
        assert store.settled("score rows") is None
        for value in (256, {"root_length": 96}):
            store.settle("score rows", value)
    with TrajectoryStore(path, read_only=True) as store:
        assert store.settled("score rows") == {"root_length": 96}
        assert store.settled("other rows") is None and store.digest() == before


def test_kill_in_the_middle_of_a_transaction(path: Path, tmp_path: Path) -> None:
    process = start_writer(path, 3, pause_in=1)
    assert process.stdout is not None and process.stdout.readline() == "inside\n"
    kill(process)
    with TrajectoryStore(path, read_only=True) as store:  # Readable at once, the half shard is not there.
        assert store.done_shards(1, "explore") == {0}
        assert {t.task_id for t in store.trajectories()} == {"task 0"}
    finish(start_writer(path, 3))
    finish(start_writer(tmp_path / "uninterrupted", 3))
    with TrajectoryStore(path) as resumed, TrajectoryStore(tmp_path / "uninterrupted") as whole:
        assert resumed.digest() == whole.digest()
        assert len(resumed.trajectories()) == 150


def test_kill_at_random_moments(path: Path, tmp_path: Path) -> None:
    generator = random.Random(0)
    for _ in range(6):
        process = start_writer(path, 60)
        threading.Event().wait(generator.uniform(0.0, 0.1))
        kill(process)
        with TrajectoryStore(path, config={"seed": 0}) as store:  # The dead process left no lock.
            found = {(t.task_id, t.k) for t in store.trajectories(1, "explore")}
            done = store.done_shards(1, "explore")
            assert found == {(f"task {number}", k) for number in done for k in range(50)}
    finish(start_writer(path, 60))
    finish(start_writer(tmp_path / "uninterrupted", 60))
    with TrajectoryStore(path) as resumed, TrajectoryStore(tmp_path / "uninterrupted") as whole:
        assert resumed.digest() == whole.digest()
