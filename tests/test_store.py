"""The trajectory store: exact round trips, atomic shards, kill -9, errors for files it must not touch."""

import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envisions_jax.store import (
    EvaluationResult,
    SelectedExample,
    SelfReward,
    Shard,
    StoreConfigError,
    StoreConflictError,
    StoreCorruptError,
    StoredTask,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreVersionError,
    Trajectory,
    TrajectoryStore,
    fingerprint,
)
from envs import Task
from tests.trajectories import candidate

ROOT = Path(__file__).parents[1]

# The tests' type checker looks at a random element of each sequence, also while hypothesis builds examples.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
CONFIG = {"seed": 0, "sampler": {"k": 5, "temperature": 0.7}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "trajectories.sqlite"


def fill(path: Path) -> TrajectoryStore:
    store = TrajectoryStore(path, config=CONFIG)
    store.add_tasks("train", [Task("z", "zebra?", 1), Task("a", "apple?", "1/2", "context", {"level": 2})])
    for number, task in enumerate("za"):
        rows = [candidate(task, k, "correct" if k else "wrong", -1.0 - k) for k in range(3)]
        store.add_many(rows, shard=Shard(0, "explore", number))
    store.mark_done(0, "explore")
    return store


# ---- Round trips -------------------------------------------------------------------------------------------

ENCODABLE = st.characters(codec="utf-8")
values = st.none() | st.text(ENCODABLE) | st.integers() | st.floats(allow_nan=False)
log_probs = st.none() | st.floats(max_value=0.0, allow_nan=False)
trajectories = st.builds(
    Trajectory,
    iteration=st.integers(0, 3),
    stage=st.sampled_from(["explore", "refine"]),
    task_id=st.text(ENCODABLE, max_size=5),
    k=st.integers(0, 9),
    text=st.text(ENCODABLE),
    outcome=st.sampled_from(["correct", "wrong", "error", "timeout", "invalid", "infrastructure"]),
    completion=st.text(ENCODABLE),
    tokens=st.lists(st.integers(0, 2**32 - 1)).map(tuple),
    value=values,
    self_reward=log_probs,
    log_prob_sum=log_probs,
    seed=st.integers(-(2**63), 2**63 - 1),
    parent=st.none() | st.just("0/explore/0/a"),
)


@settings(max_examples=40, deadline=None)  # Each example makes a file.
@given(st.lists(trajectories, unique_by=lambda t: t.id, max_size=8))
def test_trajectories_come_back_exactly(given_ones: list[Trajectory]) -> None:
    with tempfile.TemporaryDirectory() as folder, TrajectoryStore(Path(folder) / "store") as store:
        store.add_many(given_ones)
        found = store.trajectories()
        assert {t.id: t for t in found} == {t.id: t for t in given_ones}
        assert all(t.num_tokens == len(t.tokens) and t.time is not None for t in found)
        without = store.trajectories(tokens=False)
        assert all(t.tokens == () for t in without)
        assert [t.num_tokens for t in without] == [t.num_tokens for t in found]


def test_undecodable_output_and_huge_integers_are_kept_readable(path: Path) -> None:
    odd = replace(candidate(), error="bad byte \udcff", value=10**9999)
    with TrajectoryStore(path) as store:
        store.add_many([odd])
        (found,) = store.trajectories()
        assert found.error == "bad byte \\udcff"
        assert isinstance(found.value, str) and int(found.value, 16) == 10**9999
        store.add_many([odd])  # Still the same record.


def test_order_is_iteration_stage_tasks_k(path: Path) -> None:
    with fill(path) as store:
        store.add_many([candidate("a", 0, stage="refine"), candidate("z", 1, stage="refine")])
        store.add_many([candidate("unknown", 0), candidate("z", 0, iteration=1)])
        slots = [(t.iteration, t.stage, t.task_id, t.k) for t in store.trajectories()]
        assert slots[1:] == [
            *((0, "explore", task, k) for task in "za" for k in range(3)),
            (0, "refine", "z", 1),
            (0, "refine", "a", 0),
            (1, "explore", "z", 0),
        ]
        assert slots[0][2] == "unknown"  # Tasks that were never added come first, by id.
        assert [t.task_id for t in store.trajectories(0, "refine")] == ["z", "a"]
        assert len(store.trajectories(up_to=0)) == 9
        assert store.iterations() == [0, 1]


def test_tasks_are_kept_in_order_by_split(path: Path) -> None:
    with fill(path) as store:
        store.add_tasks("asdiv", [Task("z", "another zebra?", 3.5)])
        store.add_tasks("train", [Task("a", "apple?", "1/2", "context", {"level": 2}), Task("m", "more?", 2)])
        apple = StoredTask(
            split="train",
            position=1,
            id="a",
            question="apple?",
            answer="1/2",
            context="context",
            meta={"level": 2},
        )
        assert store.tasks("train")[1] == apple
        assert [t.id for t in store.tasks("train")] == ["z", "a", "m"]
        assert [t.answer for t in store.tasks("asdiv")] == [3.5]
        assert store.splits() == ["asdiv", "train"]
        with pytest.raises(StoreConflictError, match="another question: 'zebra\\?' there, 'other\\?' now"):
            store.add_tasks("train", [Task("z", "other?", 1)])


def test_self_rewards_may_come_later_once(path: Path) -> None:
    unscored = [candidate(k=k, reward=None) for k in range(2)]
    with TrajectoryStore(path) as store:
        store.add_many([*unscored, candidate(k=2, reward=-4.0)])
        rewards = [
            SelfReward(trajectory_id=t.id, self_reward=r)
            for t, r in zip(unscored, (-math.inf, -0.1), strict=True)
        ]
        for _ in range(2):
            store.add_self_rewards(rewards, shard=Shard(0, "score", 0))
        assert [t.self_reward for t in store.trajectories()] == [-math.inf, -0.1, -4.0]
        assert store.done_shards(0, "score") == {0}
        with pytest.raises(StoreConflictError, match="another self_reward"):
            store.add_self_rewards([SelfReward(trajectory_id=unscored[1].id, self_reward=-0.2)])
        with pytest.raises(StoreConflictError, match="stored with its self-reward"):
            store.add_self_rewards([SelfReward(trajectory_id="0/explore/2/a", self_reward=-0.2)])
        with pytest.raises(StoreError, match="not stored"):
            store.add_self_rewards([SelfReward(trajectory_id="0/explore/9/a", self_reward=-0.2)])


def test_kept_pool_selected_and_solved(path: Path) -> None:
    with fill(path) as store:
        refined = candidate("z", 0, iteration=1, stage="refine")
        explored = [candidate("z", 0, "wrong", iteration=1), candidate("a", 0, "timeout", iteration=1)]
        store.add_many([*explored, refined])
        store.record_kept(0, store.trajectories(0))
        store.record_kept(1, [explored[1], refined])
        assert [t.id for t in store.kept(1)] == [refined.id, explored[1].id]
        assert len(store.pool(0)) == 6 and len(store.pool(1)) == 8
        assert store.solved(1) == {"z"} and store.solved(1, after_refinement=False) == set()
        assert store.solved(0) == {"a", "z"}
        with pytest.raises(StoreConflictError, match="another trajectory_id"):
            store.record_kept(1, [explored[0]])
        with pytest.raises(StoreError, match="cannot be kept in iteration 1"):
            store.record_kept(1, [candidate()])
        chosen = SelectedExample(
            iteration=1, kind="L2", position=0, task_id="z", positive=refined.id, negative="n"
        )
        store.record_selected([chosen])
        assert store.selected(1) == [chosen] and store.selected(0) == []


def test_evaluations(path: Path) -> None:
    results = [
        EvaluationResult(
            iteration=i, test_set="asdiv", task_id=task, program="result = 1", outcome="wrong", prompt=prompt
        )
        for i in (-1, 0)
        for prompt in ("few_shot", "zero_shot")
        for task in "za"
    ]
    with TrajectoryStore(path) as store:
        store.add_tasks("asdiv", [Task("z", "", 1), Task("a", "", 1)])
        store.add_evaluations(results, shard=Shard(-1, "evaluate", 0))
        assert store.evaluations() == results
        assert store.evaluations(-1, "asdiv", "zero_shot") == results[2:4]
        assert store.evaluations(test_set="gsm8k") == []
        with pytest.raises(StoreConflictError, match="another outcome"):
            store.add_evaluations([replace(results[0], outcome="correct")])


@pytest.mark.parametrize(
    "change", [{"stage": "judge"}, {"outcome": "ok"}, {"iteration": -1}, {"k": -1}, {"self_reward": math.nan},
               {"log_prob_sum": math.inf}, {"seed": 2**63}],
)  # fmt: skip
def test_records_that_make_no_sense_are_refused(change: dict) -> None:
    made = candidate()
    for name, value in change.items():
        object.__setattr__(made, name, value)  # Past the tests' own type checker, as in a real run.
    with pytest.raises(ValueError, match=next(iter(change))):
        made.__post_init__()


# ---- Shards and resuming -----------------------------------------------------------------------------------


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
        assert store.present(0, "explore") == {(task, k) for task in "za" for k in range(3)}


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


WRITER = """
    import sys, time
    from envisions_jax.store import Shard, TrajectoryStore
    from tests.trajectories import candidate

    def rows(number, pause):
        for k in range(50):
            yield candidate(f"task {number}", k, text="x = 1\\n" * 50, iteration=1)
            if pause and k == 30:
                print("inside", flush=True)
                time.sleep(60)

    with TrajectoryStore(sys.argv[1], config={"seed": 0}) as store:
        print("open", flush=True)
        for number in range(int(sys.argv[2])):
            if number not in store.done_shards(1, "explore"):
                store.add_many(rows(number, number == int(sys.argv[3])), shard=Shard(1, "explore", number))
        store.mark_done(1, "explore")
"""


def start_writer(path: Path, shards: int, pause_in: int = -1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(shards), str(pause_in)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "open\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def finish(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=60)
    assert process.returncode == 0


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
        with TrajectoryStore(
            path, config={"seed": 0}
        ) as store:  # Also: the dead process left no lock behind.
            done = store.done_shards(1, "explore")
            assert store.present(1, "explore") == {
                (f"task {number}", k) for number in done for k in range(50)
            }
    finish(start_writer(path, 60))
    finish(start_writer(tmp_path / "uninterrupted", 60))
    with TrajectoryStore(path) as resumed, TrajectoryStore(tmp_path / "uninterrupted") as whole:
        assert resumed.digest() == whole.digest()


# ---- Files that must not be touched ------------------------------------------------------------------------


def test_one_writer_any_number_of_readers(path: Path) -> None:
    process = start_writer(path, 3, pause_in=2)
    assert process.stdout is not None and process.stdout.readline() == "inside\n"
    with pytest.raises(StoreLockedError, match=f"in use by another run \\(process {process.pid}"):
        TrajectoryStore(path)
    with TrajectoryStore(path, read_only=True) as reader:
        assert len(reader.trajectories()) == 100
        with pytest.raises(StoreError, match="not writable"):
            reader.mark_done(1, "explore")
    kill(process)
    TrajectoryStore(path).close()


def test_a_foreign_transaction_is_waited_for_and_then_named(path: Path) -> None:
    fill(path).close()
    with TrajectoryStore(path, busy_timeout_s=0.05) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreLockedError, match="locked by another process"):
            store.mark_done(0, "refine")
        other.close()
        store.mark_done(0, "refine")


def test_other_configuration_is_refused_by_key(path: Path) -> None:
    fill(path).close()
    TrajectoryStore(path, config={"sampler": {"temperature": 0.7, "k": 5}, "seed": 0}).close()
    content = path.read_bytes()
    other = {"seed": 1, "sampler": {"k": 10, "temperature": 0.7}, "new": True}
    with pytest.raises(
        StoreConfigError, match=r"new: only here; sampler.k: 5 there, 10 here; seed: 0 there, 1 here"
    ):
        TrajectoryStore(path, config=other)
    assert path.read_bytes() == content
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})


def test_newer_schema_is_refused_untouched(path: Path) -> None:
    fill(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    content = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(
            StoreVersionError, match="schema version 99, but this envisions-jax reads up to 1"
        ):
            TrajectoryStore(path, read_only=read_only)
    assert path.read_bytes() == content


def test_files_that_are_no_store_are_refused_untouched(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, " * 100)
    with pytest.raises(StoreCorruptError, match="not a readable trajectory store"):
        TrajectoryStore(text)
    assert text.read_text() == "not a database, " * 100
    foreign = tmp_path / "foreign.sqlite"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE things (a)")
    connection.close()
    content = foreign.read_bytes()
    with pytest.raises(StoreCorruptError, match="a database, but not a trajectory store"):
        TrajectoryStore(foreign)
    assert foreign.read_bytes() == content
    with pytest.raises(StoreError, match="no trajectory store there"):
        TrajectoryStore(tmp_path / "missing.sqlite", read_only=True)
    assert not (tmp_path / "missing.sqlite").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened for writing"):
        TrajectoryStore(tmp_path / "file" / "store.sqlite")


@pytest.mark.parametrize("damage", ["truncated", "scribbled"])
def test_damaged_store_is_recognised(path: Path, damage: str) -> None:
    with fill(path) as store:
        store.add_many(candidate("big", k, text="x" * 3000) for k in range(50))
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    else:
        content[4096 * 3 : 4096 * 12] = os.urandom(4096 * 9)
    path.write_bytes(content)
    with pytest.raises(StoreCorruptError, match="start in another work directory"):
        TrajectoryStore(path)


def test_empty_file_of_a_killed_start_is_a_new_store(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with pytest.raises(StoreCorruptError, match="holds no trajectory store"):
        TrajectoryStore(path, read_only=True)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")  # Killed between this and the tables.
    connection.close()
    with fill(path) as store:
        assert len(store.trajectories()) == 6


def test_full_disk_writes_nothing_and_says_so(path: Path) -> None:
    with fill(path) as store:
        before = store.digest()
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count={pages + 20}")
        with pytest.raises(StoreFullError, match=r"disk full.*nothing of this call was written"):
            store.add_many(
                (candidate("big", k, text="x" * 5000) for k in range(500)), shard=Shard(0, "explore", 9)
            )
        assert store.digest() == before and 9 not in store.done_shards(0, "explore")
        store._connection.execute("PRAGMA max_page_count=1000000")
        store.add_many(
            (candidate("big", k, text="x" * 5000) for k in range(500)), shard=Shard(0, "explore", 9)
        )


def test_several_threads(path: Path) -> None:
    def write_and_read(store: TrajectoryStore, number: int) -> None:
        for k in range(20):
            store.add_many([candidate(f"{number}", k)])
            store.trajectories()

    with TrajectoryStore(path) as store:
        threads = [threading.Thread(target=write_and_read, args=(store, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.trajectories()) == 80
