"""Tables of the trajectory store, and opening a file safely: never write to what is not ours to write."""

import fcntl
import hashlib
import json
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from envisions_jax.store.errors import (
    StoreConfigError,
    StoreCorruptError,
    StoreError,
    StoreLockedError,
    StoreVersionError,
    speaking_errors,
)

APPLICATION_ID = 0x454E5653  # "ENVS": in the SQLite header, so that another program's database is recognised.
SCHEMA_VERSION = 2  # 2: what a program printed, or its actions did

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tasks (
    split TEXT NOT NULL, id TEXT NOT NULL, position INTEGER NOT NULL,
    question TEXT NOT NULL, answer TEXT NOT NULL, context TEXT NOT NULL, meta TEXT NOT NULL,
    PRIMARY KEY (split, id)) WITHOUT ROWID;
CREATE TABLE trajectories (
    id TEXT PRIMARY KEY,
    iteration INTEGER NOT NULL, stage TEXT NOT NULL, task_id TEXT NOT NULL, k INTEGER NOT NULL,
    text TEXT NOT NULL, completion TEXT NOT NULL, tokens BLOB NOT NULL, num_tokens INTEGER NOT NULL,
    outcome TEXT NOT NULL, value TEXT NOT NULL, error TEXT NOT NULL, output TEXT NOT NULL,
    self_reward REAL, log_prob_sum REAL, finish_reason TEXT NOT NULL,
    seed INTEGER NOT NULL, parent TEXT, time REAL NOT NULL,
    UNIQUE (iteration, stage, task_id, k));
CREATE TABLE kept (
    iteration INTEGER NOT NULL, task_id TEXT NOT NULL, k INTEGER NOT NULL, trajectory_id TEXT NOT NULL,
    PRIMARY KEY (iteration, task_id, k)) WITHOUT ROWID;
CREATE TABLE selected (
    iteration INTEGER NOT NULL, kind TEXT NOT NULL, position INTEGER NOT NULL, task_id TEXT NOT NULL,
    positive TEXT NOT NULL, negative TEXT,
    PRIMARY KEY (iteration, kind, position)) WITHOUT ROWID;
CREATE TABLE evaluations (
    iteration INTEGER NOT NULL, test_set TEXT NOT NULL, prompt TEXT NOT NULL, task_id TEXT NOT NULL,
    program TEXT NOT NULL, completion TEXT NOT NULL,
    outcome TEXT NOT NULL, value TEXT NOT NULL, error TEXT NOT NULL, output TEXT NOT NULL, time REAL NOT NULL,
    PRIMARY KEY (iteration, test_set, prompt, task_id)) WITHOUT ROWID;
CREATE TABLE progress (
    iteration INTEGER NOT NULL, stage TEXT NOT NULL, shard INTEGER NOT NULL, time REAL NOT NULL,
    PRIMARY KEY (iteration, stage, shard)) WITHOUT ROWID;
"""


def fingerprint(config: Mapping[str, object]) -> str:
    """Short hash of a configuration, whatever its key order. Raises TypeError on what JSON cannot hold."""
    return hashlib.sha256(canonical_json(config).encode()).hexdigest()[:16]


def canonical_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def open_database(
    path: Path,
    *,
    config: Mapping[str, object] | None,
    defaults: Mapping[str, object] | None,
    read_only: bool,
    busy_timeout_s: float,
) -> tuple[sqlite3.Connection, IO[str] | None]:
    """Opens, or creates, the store at `path` → (connection, write lock or None if read only).

    Order matters: lock, then look, then write. A file of a newer version, of another configuration, of
    another program, or a damaged one raises its `StoreError` before a single byte of it has changed.
    """
    if read_only and not path.is_file():
        raise StoreError(f"{path}: no trajectory store there; start a run, or check the work directory")
    lock = None if read_only else _acquire_lock(path)
    try:
        with speaking_errors(path):
            return _connect(path, config, defaults or {}, read_only, busy_timeout_s), lock
    except BaseException:
        if lock is not None:
            lock.close()
        raise


def _connect(
    path: Path,
    config: Mapping[str, object] | None,
    defaults: Mapping[str, object],
    read_only: bool,
    busy_timeout_s: float,
) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}",
        uri=True,
        timeout=busy_timeout_s,
        isolation_level=None,  # Transactions are written out: BEGIN IMMEDIATE … COMMIT.
        check_same_thread=False,  # The store holds a lock of its own.
    )
    try:
        if not _is_empty(connection):
            _check_is_ours(connection, path)
            _check_config(connection, path, config, defaults)
        elif read_only:
            raise StoreCorruptError(
                f"{path}: holds no trajectory store (empty); start a run, or check the path"
            )
        if not read_only:
            # FULL: a shard that was reported as written survives a power cut too, not only kill -9.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            if _is_empty(connection):
                _create(connection, config)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_empty(connection: sqlite3.Connection) -> bool:
    # A run killed before the schema was committed leaves a file without tables: that counts as new.
    return connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0


def _create(connection: sqlite3.Connection, config: Mapping[str, object] | None) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _TABLES.split(";"):
        if statement.strip():
            connection.execute(statement)
    if config is not None:
        connection.execute("INSERT INTO meta VALUES ('config', ?)", (canonical_json(config),))
        connection.execute("INSERT INTO meta VALUES ('fingerprint', ?)", (fingerprint(config),))
    # Both pragmas live in the header page and so belong to the transaction.
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _check_is_ours(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        raise StoreCorruptError(
            f"{path}: a database, but not a trajectory store ({application=}); use another path"
        )
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StoreVersionError(
            f"{path}: schema version {version}, but this envisions-jax reads up to {SCHEMA_VERSION}; "
            "upgrade envisions-jax"
        )
    if version < SCHEMA_VERSION:
        raise StoreVersionError(
            f"{path}: schema version {version}, this envisions-jax has {SCHEMA_VERSION}; go on with the "
            "version that made it, or start in another work directory"
        )
    problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise StoreCorruptError(
            f"{path}: damaged ({problem.splitlines()[0]}); restore a copy, or start in another work directory"
        )


def _check_config(
    connection: sqlite3.Connection,
    path: Path,
    config: Mapping[str, object] | None,
    defaults: Mapping[str, object],
) -> None:
    if config is None:
        return
    row = connection.execute("SELECT value FROM meta WHERE key='fingerprint'").fetchone()
    if row is None or row[0] == fingerprint(config):
        return
    before = json.loads(connection.execute("SELECT value FROM meta WHERE key='config'").fetchone()[0])
    now = json.loads(canonical_json(config))
    if json.loads(canonical_json(defaults)) | before == now:
        return
    raise StoreConfigError(
        f"{path}: belongs to a run with another configuration ({_differences(before, now)}); "
        "resume with that configuration, or choose another work directory"
    )


def _differences(before: object, now: object, key: str = "") -> str:
    """The first few keys that differ, nested ones as a.b: `sampler.k: 5 there, 10 here`."""
    found = list(_walk(before, now, key))
    more = f", and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(found[:3]) + more


def _walk(before: object, now: object, key: str) -> list[str]:
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [] if before == now else [f"{key}: {canonical_json(before)} there, {canonical_json(now)} here"]
    found = []
    for name in sorted(before.keys() | now.keys()):
        inner = f"{key}.{name}" if key else name
        if name not in before or name not in now:
            found.append(f"{inner}: only {'there' if name in before else 'here'}")
        else:
            found += _walk(before[name], now[name], inner)
    return found


def check_free(path: Path) -> None:
    """Raise `StoreLockedError` if another process writes to the store at `path`, which need not exist.

    Writes nothing. Not for a process that has the store open itself: closing any descriptor of a file gives
    up all of a process's record locks on it.
    """
    lock_path = _lock_path(path)
    if lock_path.exists():
        with lock_path.open("r+", encoding="ascii") as lock:
            _lock(lock, path)


def _acquire_lock(path: Path) -> IO[str]:
    """One writer at a time, by a POSIX record lock: it dies with its process and is not inherited by fork."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock_path(path).open("a+", encoding="ascii")
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be opened for writing ({error}); check folder and permissions"
        ) from error
    _lock(lock, path)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _lock(lock: IO[str], path: Path) -> None:
    """Lock the open file, or close it and raise `StoreLockedError`."""
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise StoreLockedError(
            f"{path}: in use by another run (process {holder}; {error}); wait for it to end or stop it"
        ) from error
