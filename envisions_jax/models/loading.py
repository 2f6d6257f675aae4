"""Reads a model from where `locating` finds it: safetensors, PyTorch or GGUF."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from flax import nnx
from jax.sharding import Mesh
from jax.typing import DTypeLike

from envisions_jax.models import gguf_tokenizer
from envisions_jax.models.config import LlamaConfig, ModelError
from envisions_jax.models.gguf import GGUFModel
from envisions_jax.models.llama import Llama
from envisions_jax.models.locating import locate
from envisions_jax.models.weights import Tensor, assemble
from envisions_jax.parallel.layout import Layout
from envisions_jax.tokenizer import Tokenizer, load_tokenizer


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model as it came from disk. `tokenizer` is None where the folder has none."""

    config: LlamaConfig
    graphdef: nnx.GraphDef[Llama]
    params: nnx.State
    tokenizer: Tokenizer | None


def load_pretrained(
    name: str | Path, *, dtype: DTypeLike, param_dtype: DTypeLike, mesh: Mesh | None = None
) -> Loaded:
    """Reads a model, tensor by tensor.

    Args:
      name: a folder, a ``.gguf`` file, a Hugging Face id, or the alias "smollm2-135m".
      dtype: what is computed in. param_dtype: what parameters are kept in.
      mesh: put each tensor on its devices, in parts, as soon as it is read.

    Raises:
      ValueError: an axis of the mesh does not divide what it is to divide.
      ModelError: it is nowhere, incomplete, damaged, or not a LLaMA.
    """
    path = locate(name)
    tensors: Iterator[tuple[str, Tensor]]
    if path.is_file():
        model = GGUFModel(path)
        config, tensors, tokenizer = model.config, model.tensors(), gguf_tokenizer.load(model)
    else:
        config, tensors, tokenizer = read_config(path), folder_tensors(path), load_tokenizer(path)
    _check_vocabulary(config, tokenizer, path)
    graphdef, params = assemble(
        config,
        tensors,
        dtype=dtype,
        param_dtype=param_dtype,
        source=str(path),
        sharding=None if mesh is None else Layout(config, mesh).sharding,
    )
    return Loaded(config, graphdef, params, tokenizer)


def read_config(folder: Path) -> LlamaConfig:
    """``config.json``; end-of-sequence ids that ``generation_config.json`` adds count too (LLaMA 3)."""
    config = LlamaConfig.from_hf(_read_json(folder / "config.json"))
    extra = folder / "generation_config.json"
    if not extra.exists():
        return config
    more = _read_json(extra).get("eos_token_id") or ()
    ids = (*config.eos_token_ids, *((more,) if isinstance(more, int) else more))
    return dataclasses.replace(config, eos_token_ids=tuple(dict.fromkeys(ids)))


def folder_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Streams the tensors of a Hugging Face folder; safetensors are preferred to PyTorch files."""
    for suffix, read in (("safetensors", _safetensors), ("bin", _torch_tensors)):
        stem = "model" if suffix == "safetensors" else "pytorch_model"
        index = folder / f"{stem}.{suffix}.index.json"
        single = folder / f"{stem}.{suffix}"
        if index.exists():
            files = [folder / file for file in sorted(set(_read_json(index)["weight_map"].values()))]
        elif single.exists():
            files = [single]
        else:
            continue
        absent = [file.name for file in files if not file.exists()]
        if absent:
            raise ModelError(f"{folder}: {index.name} names {absent[0]}, which is missing; download it again")
        for file in files:
            yield from read(file)
        return
    raise ModelError(
        f"{folder} holds no weights: expected model.safetensors, pytorch_model.bin, or their sharded form"
    )


@dataclasses.dataclass(frozen=True)
class _Parts:
    """A tensor of a safetensors file, of which only what is asked for is read.

    The file is opened for each part: what is mapped of it counts as this process's memory until it is closed.
    """

    path: Path
    name: str
    stored: tuple[int, ...]  # its shape in the file
    is_turned: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored[::-1] if self.is_turned else self.stored

    @property
    def T(self) -> _Parts:
        return dataclasses.replace(self, is_turned=not self.is_turned)

    def __getitem__(self, part: tuple[slice, ...], /) -> np.ndarray:
        with _opened(self.path) as file:
            tensor = file.get_slice(self.name)
            return tensor[part[::-1]].T if self.is_turned else tensor[part]


def _safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    with _opened(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    for name, shape in shapes.items():
        yield name, _Parts(path, name, shape)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file. Raises ModelError."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelError(f"{path} is damaged or cut short ({error}); download it again") from error


def _torch_tensors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """PyTorch's pickle, restricted to tensors: a file that wants to run code is refused."""
    try:
        import torch
    except ImportError as error:
        raise ModelError(
            f"{path} is in PyTorch's format: `pip install torch`, or use the model's safetensors"
        ) from error
    import pickle
    import zipfile

    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{path} cannot be read safely ({reason}); it is damaged, or holds more than tensors. "
            "Use the model's safetensors"
        ) from error
    for name, tensor in tensors.items():
        # NumPy has no bfloat16 of its own; float32 holds it exactly.
        yield name, (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _check_vocabulary(config: LlamaConfig, tokenizer: Tokenizer | None, path: Path) -> None:
    if tokenizer is not None and tokenizer.vocab_size > config.vocab_size:
        raise ModelError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} tokens, the model's embedding only "
            f"{config.vocab_size}; they are not of the same model (or the tokenizer was given extra tokens: "
            "remove them from its files)"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path.parent} has no {path.name}; it is not a model's folder") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not valid JSON ({error}); download it again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content
