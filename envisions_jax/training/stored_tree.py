"""What one checkpoint holds: a pytree of arrays, JSON metadata, and the list of its files with their sizes.

Leaves are kept under their path in the tree, so that a checkpoint can be inspected, and a structure that
does not fit is refused by name instead of being silently reshaped. The list of files finds a missing or
truncated one before Orbax meets it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

FILES = "files.json"
_OS_ERROR = re.compile(r"\[os_error_code='(\d+)'\]")
_SPARE = 1.1  # arrays are stored compressed, but weights hardly shrink; some room for the rest


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, or what is there is not what was asked for."""


class OtherTreeError(CheckpointError):
    """The checkpoint is whole, but of other arrays."""


def save_arguments(tree: Any, metadata: Mapping[str, Any]) -> ocp.args.Composite:
    """Orbax's arguments to save `tree` with its names and shapes, and `metadata`."""
    leaves = _named_leaves(tree)
    document = {"shapes": _shapes(leaves), "user": dict(metadata)}
    return ocp.args.Composite(tree=ocp.args.StandardSave(leaves), metadata=ocp.args.JsonSave(document))


def read(restore: Callable[[ocp.args.Composite], Any], like: Any) -> tuple[dict[str, Any], Any]:
    """(metadata, tree) as `save_arguments` stored them, with the structure and shardings of `like`.

    Raises:
        OtherTreeError: it holds other arrays than `like`.
    """
    document = restore(ocp.args.Composite(metadata=ocp.args.JsonRestore()))["metadata"]
    names = _named_leaves(like)
    stored, expected = document["shapes"], _shapes(names)
    for name in sorted(set(stored) | set(expected)):
        if stored.get(name) != expected.get(name):
            raise OtherTreeError(
                f"the checkpoint is of another model: {name} is {stored.get(name, 'absent')} there and "
                f"{expected.get(name, 'absent')} here; use another directory or remove it"
            )
    abstract = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None))
        for name, leaf in names.items()
    }
    leaves = restore(ocp.args.Composite(tree=ocp.args.StandardRestore(abstract)))["tree"]
    return document["user"], jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in names])


def list_files(folder: Path) -> None:
    """Write the list of `folder`'s files and their sizes, before `folder` gets its final name."""
    paths = sorted(path for item in ("tree", "metadata") for path in (folder / item).rglob("*"))
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in paths if path.is_file()}
    (folder / FILES).write_text(json.dumps(sizes))


def require_whole(folder: Path) -> None:
    """Raise `CheckpointError` if a file of `folder` is missing or has another size than when written."""
    if not (folder / FILES).exists():
        raise CheckpointError(f"{FILES} is missing")
    for name, size in json.loads((folder / FILES).read_text()).items():
        path = folder / name
        found = path.stat().st_size if path.exists() else "missing"
        if found != size:
            raise CheckpointError(f"{name} is {found}, should be {size} bytes")


def require_space(folder: Path, tree: Any) -> None:
    """Raise `CheckpointError` if `tree` cannot fit on the disk, OSError if nothing can be written there."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    with tempfile.TemporaryDirectory(prefix=".try-", dir=existing) as tried:
        (Path(tried) / "file").write_bytes(b"0")
    needed = _SPARE * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise CheckpointError(f"disk full: {needed / 2**30:.3g} GiB needed, {free / 2**30:.3g} GiB free")


def first_line(error: BaseException) -> str:
    """What went wrong. TensorStore says it behind paths that are longer than a line."""
    text = str(error) or type(error).__name__
    if of_the_system := _OS_ERROR.search(text):
        return os.strerror(int(of_the_system[1]))
    return text.splitlines()[0][:200]


def _named_leaves(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _shapes(leaves: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {name: [list(leaf.shape), str(leaf.dtype)] for name, leaf in leaves.items()}
