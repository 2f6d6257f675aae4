"""What can go wrong with a trajectory store, each with its own class and a sentence that says what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class StoreError(Exception):
    """The trajectory store cannot be used as asked; nothing was overwritten."""


class StoreLockedError(StoreError):
    """Another process is writing to this store."""


class StoreCorruptError(StoreError):
    """The file is not a (whole) trajectory store."""


class StoreVersionError(StoreError):
    """The store was written by a newer version of envisions-jax."""


class StoreConfigError(StoreError):
    """The store belongs to a run with another configuration."""


class StoreConflictError(StoreError):
    """A record is already there with another content: the run is not repeating itself."""


class StoreFullError(StoreError):
    """The disk (or quota) is full; the shard being written was rolled back."""


@contextmanager
def speaking_errors(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into `StoreError`s that name the file and the remedy. Programming errors pass
    as they are."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _translate(error, path) from error


def _translate(error: sqlite3.DatabaseError, path: Path) -> Exception:
    # The low byte is SQLite's primary result code; the rest refines it.
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreLockedError(f"{path}: locked by another process ({error}); wait for it to end or stop it")
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreCorruptError(
            f"{path}: not a readable trajectory store ({error}); "
            "restore a copy, or start in another work directory"
        )
    if primary == sqlite3.SQLITE_FULL:
        return StoreFullError(
            f"{path}: disk full ({error}); nothing of this call was written: "
            "free space and run the same command again"
        )
    if primary == sqlite3.SQLITE_IOERR:
        return StoreFullError(
            f"{path}: input/output error ({error}); nothing of this call was written: "
            "check free space and the disk, then run the same command again"
        )
    if primary == sqlite3.SQLITE_READONLY:
        return StoreError(
            f"{path}: not writable ({error}); check permissions, or open it with read_only=True"
        )
    if primary == sqlite3.SQLITE_CANTOPEN:
        return StoreError(
            f"{path}: cannot be opened ({error}); check that the folder exists and its permissions"
        )
    if isinstance(error, sqlite3.OperationalError):
        return StoreError(f"{path}: {error}")
    return error
