"""Writes a model as a Hugging Face folder that transformers, and `load_pretrained`, read back bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import jax
import numpy as np
import safetensors
from flax import nnx
from safetensors.numpy import save_file

from envisions_jax.models.config import LlamaConfig, ModelError
from envisions_jax.models.weights import named_arrays
from envisions_jax.tokenizer import Tokenizer

SHARD_BYTES = 5 * 10**9
# What the folder of a model may hold; one with anything else is somebody's, and is not replaced.
_OF_A_MODEL = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.bin",
    "*.bin.index.json",
    "*config.json",
    "*token*",
    "vocab*",
    "merges.txt",
    "chat_template*",
    "README.md",
    "LICENSE*",
    ".gitattributes",
)


def save_pretrained(
    folder: str | Path,
    config: LlamaConfig,
    params: nnx.State,
    tokenizer: Tokenizer | None,
    *,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes weights (in the type they have), config and tokenizer to `folder`, all or nothing.

    A reader never sees half a model. One that is already there makes room for the new one when that is
    whole, and comes back if it cannot take its place; killed between the two, it lies beside `folder` as
    ``.<name>.replaced``, where the next call puts it back first.

    Raises:
      ModelError: `folder` holds something that is no model, or cannot be written; it is as it was.
    """
    target = Path(folder).absolute()
    replaced = target.with_name(f".{target.name}.replaced")
    try:
        if replaced.is_dir() and not target.exists():
            os.replace(replaced, target)
        if target.exists() and not _replaceable(target):
            raise ModelError(
                f"{target} exists and is not a model's folder, or holds more than a model; "
                "nothing was written: give another name"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the last step is a rename within one file system.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
            fresh = Path(scratch) / "model"
            fresh.mkdir()
            _write(fresh, config, params, tokenizer, shard_bytes)
            _replace(target, fresh, replaced)
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"cannot save the model to {target}: {error}") from error


def _replaceable(target: Path) -> bool:
    """Whether it is an empty folder, or one of a model and nothing else."""
    if not target.is_dir():
        return False
    files = list(target.iterdir())
    if not files:
        return True
    try:
        described = json.loads((target / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    names_a_model = isinstance(described, dict) and bool(described.keys() & {"model_type", "architectures"})
    return names_a_model and all(any(fnmatch(file.name, own) for own in _OF_A_MODEL) for file in files)


def _replace(target: Path, fresh: Path, replaced: Path) -> None:
    """Put the folder `fresh` where `target` is; what was there stays whole until then."""
    shutil.rmtree(replaced, ignore_errors=True)  # of a call that was killed after its last rename
    if not target.exists():
        os.replace(fresh, target)
        return
    os.replace(target, replaced)
    try:
        os.replace(fresh, target)
    except OSError:
        os.replace(replaced, target)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _write(
    folder: Path, config: LlamaConfig, params: nnx.State, tokenizer: Tokenizer | None, shard_bytes: int
) -> None:
    dtype = jax.tree.leaves(params)[0].dtype.name
    description = config.to_hf() | {"dtype": dtype, "torch_dtype": dtype}
    (folder / "config.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    _write_weights(folder, params, shard_bytes)
    if tokenizer is not None:
        tokenizer.save(folder)
    for file in folder.iterdir():  # safetensors makes its files readable by their owner only
        file.chmod((folder / "config.json").stat().st_mode)


def _write_weights(folder: Path, params: nnx.State, shard_bytes: int) -> None:
    """One file, or numbered shards with an index where it would be larger than `shard_bytes`."""
    total = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    if total <= shard_bytes:
        save_file(dict(named_arrays(params)), folder / "model.safetensors", metadata={"format": "pt"})
        return
    written: list[list[str]] = []
    for number, shard in enumerate(_shards(params, shard_bytes), start=1):
        # Their count is known only when the last is written: rename then.
        save_file(shard, folder / f"{number}.safetensors", metadata={"format": "pt"})
        written.append(list(shard))
    weight_map: dict[str, str] = {}
    for number, names in enumerate(written, start=1):
        file = f"model-{number:05d}-of-{len(written):05d}.safetensors"
        os.replace(folder / f"{number}.safetensors", folder / file)
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _shards(params: nnx.State, shard_bytes: int) -> Iterator[dict[str, np.ndarray]]:
    shard: dict[str, np.ndarray] = {}
    size = 0
    for name, array in named_arrays(params):
        if shard and size + array.nbytes > shard_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = array
        size += array.nbytes
    yield shard
