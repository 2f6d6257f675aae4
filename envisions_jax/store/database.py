"""One SQLite file of ours: opening, transactions, repeatable inserts and reads. What it holds is for
subclasses."""

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from envisions_jax.store.errors import StoreConflictError, speaking_errors
from envisions_jax.store.schema import open_database

# Not typing.Self: the run-time type checker of the tests sees methods, not the class around them.
Opened = TypeVar("Opened", bound="Database")


class Database:
    """A connection guarded for threads; every write is one transaction that is there wholly or not at all."""

    def __init__(
        self,
        path: str | Path,
        *,
        config: Mapping[str, object] | None = None,
        defaults: Mapping[str, object] | None = None,
        read_only: bool = False,
        busy_timeout_s: float = 10.0,
    ) -> None:
        self.path = Path(path)
        self._connection, self._lock_file = open_database(
            self.path, config=config, defaults=defaults, read_only=read_only, busy_timeout_s=busy_timeout_s
        )
        self._guard = threading.RLock()

    def close(self) -> None:
        with self._guard:
            self._connection.close()
            if self._lock_file is not None:
                self._lock_file.close()

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._guard, speaking_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # After a full disk SQLite has already rolled back by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _insert(
        self, table: str, row: Mapping[str, object], *, key: Sequence[str], ignore: Sequence[str] = ()
    ) -> int:
        """Inserts `row` → 1, or 0 if it is already there with the same content (but for time and
        `ignore`)."""
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        unique = ", ".join(key)
        command = f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT ({unique}) DO NOTHING"
        if self._connection.execute(command, tuple(row.values())).rowcount == 1:
            return 1
        where = " AND ".join(f"{name}=?" for name in key)
        (stored,) = self._dicts(f"SELECT * FROM {table} WHERE {where}", *(row[name] for name in key))
        for name, value in row.items():
            if name != "time" and name not in ignore and stored[name] != value:
                which = ", ".join(f"{part}={row[part]!r}" for part in key)
                raise StoreConflictError(
                    f"{self.path}: {table} ({which}) is already stored with another {name}: "
                    f"{str(stored[name])[:80]!r} there, {str(value)[:80]!r} now"
                )
        return 0

    def _rows(self, query: str, *values: object) -> list[tuple]:
        with self._guard, speaking_errors(self.path):
            return self._connection.execute(query, values).fetchall()

    def _one(self, query: str, *values: object) -> int:
        return int(self._rows(query, *values)[0][0])

    def _dicts(self, query: str, *values: object) -> list[dict]:
        with self._guard, speaking_errors(self.path):
            cursor: sqlite3.Cursor = self._connection.execute(query, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
