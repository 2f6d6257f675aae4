"""Orbax checkpoints: mid-training state, and the weights of an iteration's policy.

What is promised: a checkpoint is whole or it does not exist (written under another name, renamed when complete); one
that was damaged afterwards is recognised when read, reported, and passed over for the one before it; a save that fails
(disk full) raises `CheckpointError` and leaves what was there before.

Any pytree of arrays can be stored: leaves are kept under their path, so that a checkpoint can be inspected, and a
structure that does not fit is refused by name instead of being silently reshaped.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

logger = logging.getLogger(__name__)

_SHAPES = "shapes"  # metadata key of the stored leaves' shapes and types
_USER = "user"  # metadata key of the caller's metadata


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, or what is there is not what was asked for."""


class Restored(NamedTuple):
    """A checkpoint read back."""

    step: int
    tree: Any
    metadata: dict[str, Any]


class Checkpoints:
    """Checkpoints of one training run in one directory: asynchronous saves, the newest `keep` kept."""

    def __init__(self, directory: str | Path, keep: int = 2) -> None:
        self.directory = Path(directory).absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)
        try:
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        except OSError as error:
            raise CheckpointError(f"cannot use {self.directory} for checkpoints: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def save(self, step: int, tree: Any, metadata: Mapping[str, Any], *, wait: bool = False) -> None:
        """Save `tree` (any pytree of arrays) and JSON-able `metadata` as checkpoint `step`.

        Returns as soon as the arrays are copied, so that the caller may donate them; writing goes on behind. A failed
        write is raised by the next `save`, `wait` or `close`.
        """
        leaves = _snapshot(_named_leaves(tree))
        document = {_SHAPES: _describe(leaves), _USER: dict(metadata)}
        self._checked(
            lambda: self._manager.save(
                step,
                args=ocp.args.Composite(
                    tree=ocp.args.StandardSave(leaves), metadata=ocp.args.JsonSave(document)
                ),
            )
        )
        if wait:
            self.wait()

    def wait(self) -> None:
        """Block until everything saved is on disk."""
        self._checked(self._manager.wait_until_finished)

    def close(self) -> None:
        self.wait()
        self._manager.close()

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        return sorted(self._manager.all_steps(read=True))

    def metadata(self, step: int) -> dict[str, Any]:
        """The metadata stored with `step`; raises what Orbax raises if it is damaged."""
        restored = self._manager.restore(step, args=ocp.args.Composite(metadata=ocp.args.JsonRestore()))
        return restored["metadata"]

    def latest(self, like: Any) -> Restored | None:
        """The newest checkpoint that reads back whole, or None; damaged ones are removed with a warning.

        Args:
            like: a pytree of arrays (or `ShapeDtypeStruct`s) with the structure and shapes that were saved.

        Raises:
            CheckpointError: the checkpoint is whole but holds other arrays than `like`.
        """
        for step in reversed(self.steps()):
            try:
                document = self.metadata(step)
            except Exception as error:  # Orbax and TensorStore raise many types, bare Exception among them
                self._discard(step, error)
                continue
            _require_same_shapes(document[_SHAPES], like, self.directory / str(step))
            try:
                restored = self._manager.restore(
                    step,
                    args=ocp.args.Composite(tree=ocp.args.StandardRestore(_abstract(_named_leaves(like)))),
                )
            except Exception as error:  # as above
                self._discard(step, error)
                continue
            return Restored(step, _rebuild(like, restored["tree"]), document[_USER])
        return None

    def _discard(self, step: int, error: Exception) -> None:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        logger.warning("checkpoint %s is damaged (%s): removed", self.directory / str(step), reason)
        # By hand: the manager wants to read what it deletes.
        shutil.rmtree(self.directory / str(step))
        self._manager.reload()

    def _checked(self, action: Any) -> None:
        try:
            action()
        except Exception as error:  # as above; every one of them means "not saved"
            raise CheckpointError(
                f"could not write a checkpoint to {self.directory} ({_free(self.directory)}): {_first_line(error)}; "
                "earlier checkpoints are untouched"
            ) from error


def save_params(directory: str | Path, params: Any, metadata: Mapping[str, Any] | None = None) -> None:
    """Write weights and JSON-able metadata to `directory`, replacing what is there only when complete.

    Raises:
        CheckpointError: it could not be written; what was in `directory` before is untouched.
    """
    directory = Path(directory).absolute()
    new, old = _beside(directory, "new"), _beside(directory, "old")
    leaves = _named_leaves(params)
    document = {_SHAPES: _describe(leaves), _USER: dict(metadata or {})}
    try:
        shutil.rmtree(new, ignore_errors=True)
        directory.parent.mkdir(parents=True, exist_ok=True)
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            arguments = ocp.args.Composite(
                tree=ocp.args.StandardSave(leaves), metadata=ocp.args.JsonSave(document)
            )
            checkpointer.save(new, args=arguments)
    except Exception as error:  # Orbax and TensorStore raise many types; every one of them means "not saved"
        shutil.rmtree(new, ignore_errors=True)
        raise CheckpointError(
            f"could not write weights to {directory} ({_free(directory.parent)}): {_first_line(error)}; "
            "what was there before is untouched"
        ) from error
    # A kill between the two renames leaves `old` alone, which `_settle` puts back.
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        directory.rename(old)
    new.rename(directory)
    shutil.rmtree(old, ignore_errors=True)


def restore_params(directory: str | Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """Read what `save_params` wrote: (weights with the structure, types and shardings of `like`, metadata).

    Raises:
        CheckpointError: nothing there, damaged, or weights of another model.
    """
    directory = Path(directory).absolute()
    _settle(directory)
    if not directory.is_dir():
        raise CheckpointError(f"no weights at {directory}")
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        try:
            only_metadata = ocp.args.Composite(metadata=ocp.args.JsonRestore())
            document = checkpointer.restore(directory, args=only_metadata)["metadata"]
            _require_same_shapes(document[_SHAPES], like, directory)
            only_tree = ocp.args.Composite(tree=ocp.args.StandardRestore(_abstract(_named_leaves(like))))
            tree = checkpointer.restore(directory, args=only_tree)["tree"]
        except CheckpointError:
            raise
        except Exception as error:  # Orbax and TensorStore raise many types, bare Exception among them
            raise CheckpointError(f"the weights at {directory} are damaged: {_first_line(error)}") from error
    return _rebuild(like, tree), document[_USER]


def has_params(directory: str | Path) -> bool:
    """Whether `save_params` completed there."""
    directory = Path(directory).absolute()
    _settle(directory)
    return directory.is_dir()


def _beside(directory: Path, suffix: str) -> Path:
    return directory.with_name(f".{directory.name}.{suffix}")


def _settle(directory: Path) -> None:
    """Finish a replacement that was killed between its two renames."""
    old = _beside(directory, "old")
    if old.is_dir() and not directory.exists():
        old.rename(directory)


def _named_leaves(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _rebuild(like: Any, leaves: Mapping[str, Any]) -> Any:
    names = _named_leaves(like)
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in names])


def _describe(leaves: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {name: [list(leaf.shape), str(leaf.dtype)] for name, leaf in leaves.items()}


def _require_same_shapes(stored: Mapping[str, Any], like: Any, where: Path) -> None:
    expected = _describe(_named_leaves(like))
    for name in sorted(set(stored) | set(expected)):
        if stored.get(name) != expected.get(name):
            raise CheckpointError(
                f"{where} holds other arrays than this run's: {name} is {stored.get(name, 'absent')} there and "
                f"{expected.get(name, 'absent')} here; use another directory or remove this one"
            )


def _abstract(leaves: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
    return {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None))
        for name, leaf in leaves.items()
    }


@jax.jit
def _copy(leaves: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return jax.tree.map(jnp.copy, leaves)


def _snapshot(leaves: dict[str, Any]) -> dict[str, Any]:
    """Copies on CPU, where Orbax reads device memory in place and would see it donated and overwritten."""
    return _copy(leaves) if jax.default_backend() == "cpu" else leaves


def _free(path: Path) -> str:
    existing = next(p for p in (path, *path.parents) if p.exists())
    return f"{shutil.disk_usage(existing).free / 2**30:.1f} GiB free"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
