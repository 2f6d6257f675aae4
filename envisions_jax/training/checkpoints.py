"""Orbax checkpoints: the state of a training under way, and the weights of an iteration's policy.

What is promised: a checkpoint is whole or it does not exist (written under another name, renamed when
complete); one that was damaged afterwards is recognised, reported, and passed over for the one before it; a
save that fails (disk full) raises `CheckpointError` and leaves what was there before.
"""

from __future__ import annotations

import errno
import functools
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax

from envisions_jax import hosts
from envisions_jax.training import stored_tree
from envisions_jax.training.saving import Saver
from envisions_jax.training.stored_tree import CheckpointError, first_line

logger = logging.getLogger(__name__)

_ADVICE = "put a copy there, or start in another work directory"
_HALF_WRITTEN = ".orbax-checkpoint-tmp*"  # the names Orbax gives before a checkpoint is whole
_PAUSES_S = (0.05, 0.2, 1.0, 5.0)  # for threads of a failed save to end


class Restored(NamedTuple):
    """A checkpoint read back."""

    step: int
    tree: Any
    metadata: dict[str, Any]


class Checkpoints:
    """Checkpoints of one training in one directory, of which the newest `keep` are kept.

    Of several processes all have to call each method.
    """

    def __init__(self, directory: str | Path, keep: int = 2) -> None:
        self.directory = Path(directory).absolute()
        self._keep = keep
        self._saved = 0  # the newest that was begun
        try:
            hosts.on_first(self._prepare)
        except OSError as error:
            raise CheckpointError(f"cannot use {self.directory} for checkpoints: {error}") from error
        self._saver = Saver(when_written=self._list_files, when_there=self._remove_old)

    def _prepare(self) -> None:
        """While nothing is being written: make the folder, and remove what a kill or a full disk left."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for half_written in self.directory.glob(f"*{_HALF_WRITTEN}"):
            _remove_half_written(half_written)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        # What went wrong first is what is told.
        try:
            self._saver.close()
        except Exception as second:  # of many types, as below
            logger.warning("not written to %s: %s", self.directory, first_line(second))

    def save(self, step: int, tree: Any, metadata: Mapping[str, Any]) -> None:
        """Save `tree` (any pytree of arrays) and JSON-able `metadata` as checkpoint `step`.

        Returns as soon as the caller may donate the arrays: when they are copied, and writing goes on behind;
        on CPU, where they are not copied, when they are written. A failed write is raised here, or by the
        next `save`, `wait` or `close`.
        """
        self.wait()
        self._saved = step
        self._checked(lambda: hosts.on_first(lambda: self._make_room(tree)))
        self._checked(lambda: self._saver.save(self.directory / str(step), tree, metadata))

    def _make_room(self, tree: Any) -> None:
        self._prepare()
        stored_tree.require_space(self.directory, tree)

    def wait(self) -> None:
        """Block until everything saved is on disk, and what is not kept is no longer there."""
        self._checked(self._saver.wait)

    def close(self) -> None:
        self._checked(self._saver.close)

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        return hosts.on_first(self._steps)

    def _steps(self) -> list[int]:
        return sorted(int(path.name) for path in self.directory.iterdir() if path.name.isdecimal())

    def _remove_old(self) -> None:
        """Called in a thread, when there is one more."""
        for step in self._steps()[: -self._keep] if hosts.is_first() else ():
            try:
                shutil.rmtree(self.directory / str(step))
            except OSError as error:  # the newest is there all the same
                logger.warning("cannot remove an old checkpoint, %s: %s", self.directory / str(step), error)

    def latest(self, like: Any) -> Restored | None:
        """The newest checkpoint that reads back whole, or None; damaged ones are removed with a warning.

        Args:
            like: a pytree of arrays (or `ShapeDtypeStruct`s) with the structure and shapes that were saved.

        Raises:
            CheckpointError: the checkpoint is whole but holds other arrays than `like`, or the machine could
                not read it (out of memory, of file handles, of permission).
        """
        self.wait()
        for step in reversed(self.steps()):
            if not hosts.on_first(functools.partial(self._is_whole, step)):
                continue
            try:
                metadata, tree = self._saver.read(self.directory / str(step), like)
            except (stored_tree.OtherTreeError, jax.errors.JaxRuntimeError):
                raise  # the latter says nothing of the checkpoint: no memory, or another process has ended
            except (MemoryError, OSError) as error:  # says nothing of the checkpoint: it may well be whole
                raise CheckpointError(
                    f"could not read the checkpoint {self.directory / str(step)}: {first_line(error)}; "
                    "it is still there"
                ) from error
            except Exception as error:  # Orbax and TensorStore raise many types, bare Exception among them
                if hosts.count() > 1:  # which may not all have met it
                    path = self.directory / str(step)
                    raise CheckpointError(f"{path} is damaged: {first_line(error)}; remove it") from error
                self._remove_damaged(step, error)
                continue
            return Restored(step, tree, metadata)
        return None

    def _is_whole(self, step: int) -> bool:
        """Are all files of a checkpoint there? If not, it is removed."""
        try:
            stored_tree.require_whole(self.directory / str(step))
        except OSError as error:
            path = self.directory / str(step)
            raise CheckpointError(
                f"could not read the checkpoint {path}: {first_line(error)}; it is still there"
            ) from error
        except Exception as error:  # a list that is no list, too
            self._remove_damaged(step, error)
            return False
        return True

    def _remove_damaged(self, step: int, error: Exception) -> None:
        logger.warning("damaged checkpoint removed: %s: %s", self.directory / str(step), first_line(error))
        shutil.rmtree(self.directory / str(step))

    def _list_files(self) -> None:
        """Called by Orbax, in its thread, when all is written but still under the temporary name."""
        for folder in self.directory.glob(f"{self._saved}{_HALF_WRITTEN}") if hosts.is_first() else ():
            stored_tree.list_files(folder)

    def _checked(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # as above; every one of them means "not saved"
            if hosts.is_of_another(error):
                raise
            raise CheckpointError(
                f"could not write a checkpoint to {self.directory}: {first_line(error)}; "
                "earlier checkpoints are untouched, and the same command goes on from there"
            ) from error


def _remove_half_written(folder: Path) -> None:
    """When one file of a checkpoint could not be written, threads of any process may still write others.

    And TensorStore makes their folder anew where it is gone. Raises OSError if it stays.
    """
    for pause_s in _PAUSES_S:
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:  # a file went after it was listed, or all of the folder
            pass
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EBUSY):  # a file came, or is open and on NFS
                raise
        time.sleep(pause_s)
        if not folder.exists():
            return
    raise OSError(errno.ENOTEMPTY, "something still writes there", str(folder))


def save_params(directory: str | Path, params: Any, metadata: Mapping[str, Any] | None = None) -> None:
    """Write weights and JSON-able metadata to `directory`, replacing what is there only when complete.

    Raises:
        CheckpointError: it could not be written; what was in `directory` before is untouched.
    """
    directory = Path(directory).absolute()
    new, old = _beside(directory, "new"), _beside(directory, "old")

    def make_room() -> None:
        directory.parent.mkdir(parents=True, exist_ok=True)
        _remove(new)
        stored_tree.require_space(directory.parent, params)

    try:
        hosts.on_first(make_room)
        with closing(Saver()) as saver:
            saver.save(new, params, metadata or {})
        hosts.on_first(lambda: stored_tree.list_files(new))
    except Exception as error:  # Orbax and TensorStore raise many types; every one of them means "not saved"
        if hosts.is_of_another(error):
            raise
        if hosts.is_first():
            with suppress(OSError):  # what went wrong first is what is told
                _remove(new)
        raise CheckpointError(
            f"could not write weights to {directory}: {first_line(error)}; what was there before is untouched"
        ) from error

    def take_its_place() -> None:
        # A kill between the two renames leaves `old` alone, which `_settle` puts back.
        shutil.rmtree(old, ignore_errors=True)
        if directory.exists():
            directory.rename(old)
        new.rename(directory)
        shutil.rmtree(old, ignore_errors=True)

    hosts.on_first(take_its_place)


def restore_params(directory: str | Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """Read what `save_params` wrote: (weights with the structure, types and shardings of `like`, metadata).

    Raises:
        CheckpointError: nothing there, damaged, or weights of another model.
    """
    directory = Path(directory).absolute()
    if not has_params(directory):
        raise CheckpointError(f"no weights at {directory}; {_ADVICE}")
    with closing(Saver()) as saver:
        try:
            stored_tree.require_whole(directory)
            metadata, params = saver.read(directory, like)
        except stored_tree.OtherTreeError:
            raise
        except Exception as error:  # Orbax and TensorStore raise many types, bare Exception among them
            raise CheckpointError(
                f"the weights at {directory} are damaged: {first_line(error)}; {_ADVICE}"
            ) from error
    return params, metadata


def has_params(directory: str | Path) -> bool:
    """Whether `save_params` completed there."""
    directory = Path(directory).absolute()
    return hosts.on_first(lambda: _settle(directory))


def _beside(directory: Path, suffix: str) -> Path:
    return directory.with_name(f".{directory.name}.{suffix}")


def _remove(new: Path) -> None:
    """Remove a half-written folder under the name we, or Orbax, gave it."""
    for path in new.parent.glob(f"{new.name}*"):
        _remove_half_written(path)


def _settle(directory: Path) -> bool:
    """Finish a replacement that was killed between its two renames; is there anything now?"""
    old = _beside(directory, "old")
    if old.is_dir() and not directory.exists():
        old.rename(directory)
    return directory.is_dir()
