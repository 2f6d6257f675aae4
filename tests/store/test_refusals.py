"""Files, locks and disks: what the store must not touch it refuses untouched, and says why."""

import os
import sqlite3
import threading
from pathlib import Path

import pytest

from envisions_jax.store import (
    Shard,
    StoreConfigError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreVersionError,
    TrajectoryStore,
    fingerprint,
)
from tests.store.filled import fill
from tests.store.writer import kill, start_writer
from tests.trajectories import candidate


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


def test_a_key_that_an_older_store_does_not_name_had_its_default(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    TrajectoryStore(path, config={"k": 5}).close()
    defaults = {"k": 1, "errors": False}
    TrajectoryStore(path, config={"k": 5, "errors": False}, defaults=defaults).close()
    with pytest.raises(StoreConfigError, match="errors"):
        TrajectoryStore(path, config={"k": 5, "errors": True}, defaults=defaults)
    with pytest.raises(StoreConfigError, match="k: 5 there, 1 here"):
        TrajectoryStore(path, config={"k": 1, "errors": False}, defaults=defaults)


def test_newer_schema_is_refused_untouched(path: Path) -> None:
    fill(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    content = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(
            StoreVersionError, match="schema version 99, but this envisions-jax reads up to 2"
        ):
            TrajectoryStore(path, read_only=read_only)
    assert path.read_bytes() == content


def test_older_schema_is_refused_untouched(path: Path) -> None:
    fill(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=1")
    connection.close()
    content = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(StoreVersionError, match="schema version 1, this envisions-jax has 2; go on with"):
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
