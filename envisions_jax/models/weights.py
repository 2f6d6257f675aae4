"""Where each weight of a checkpoint goes: Hugging Face's names and layouts to ours, and back.

Every file format is read as a stream of (Hugging Face name, array), one tensor at a time, so that a
model never needs twice its size in host memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, cast, runtime_checkable

import jax
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from envisions_jax import hosts
from envisions_jax.models.config import LlamaConfig, ModelError
from envisions_jax.models.llama import Llama, abstract

Path = tuple[str | int, ...]  # into `Llama`: names, and a layer's number

_PROJECTIONS = {
    ("attention", "query"): "self_attn.q_proj",
    ("attention", "key"): "self_attn.k_proj",
    ("attention", "value"): "self_attn.v_proj",
    ("attention", "output"): "self_attn.o_proj",
    ("feed_forward", "gate"): "mlp.gate_proj",
    ("feed_forward", "up"): "mlp.up_proj",
    ("feed_forward", "down"): "mlp.down_proj",
}
_NORMS = {"attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm"}


@runtime_checkable
class Tensor(Protocol):
    """What a checkpoint holds: an array, or what reads one from a file part by part."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def T(self) -> Tensor: ...

    def __getitem__(self, part: tuple[slice, ...], /) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Slot:
    """One parameter: its path in our state, its name in Hugging Face's, and whether that is transposed."""

    path: Path
    name: str
    transposed: bool


def slot(path: Path) -> Slot:
    """The place of one parameter of `Llama` in a Hugging Face checkpoint."""
    match path:
        case ("embedding",):
            return Slot(path, "model.embed_tokens.weight", False)
        case ("output_embedding",):
            return Slot(path, "lm_head.weight", False)
        case ("final_norm", "scale"):
            return Slot(path, "model.norm.weight", False)
        case ("layers", int(layer), str(norm), "scale"):
            return Slot(path, f"model.layers.{layer}.{_NORMS[norm]}.weight", False)
        case ("layers", int(layer), str(part), str(linear), "kernel"):
            return Slot(path, f"model.layers.{layer}.{_PROJECTIONS[part, linear]}.weight", True)
        case ("layers", int(layer), str(part), str(linear), "bias"):
            return Slot(path, f"model.layers.{layer}.{_PROJECTIONS[part, linear]}.bias", False)
    raise ModelError(f"no Hugging Face name for the parameter {path!r}")


def slots(state: nnx.State) -> Iterator[tuple[Slot, nnx.Variable]]:
    """Every parameter of `state`, abstract or real, with its place."""
    for path, variable in flat(state):
        yield slot(path), variable


def flat(state: nnx.State) -> Iterator[tuple[Path, nnx.Variable]]:
    """Every parameter of `state` with its path."""
    for path, variable in nnx.to_flat_state(state):
        yield cast(Path, path), variable


def _ignored(name: str, config: LlamaConfig) -> bool:
    """Tensors that old checkpoints carry and that are computed, or shared, here."""
    tied_copy = config.tie_embeddings and name == "lm_head.weight"
    return tied_copy or name.endswith("rotary_emb.inv_freq")


def assemble(
    config: LlamaConfig,
    tensors: Iterable[tuple[str, Tensor]],
    *,
    dtype: DTypeLike,
    param_dtype: DTypeLike,
    source: str,
    sharding: Callable[[Path], jax.sharding.Sharding] | None = None,
) -> tuple[nnx.GraphDef[Llama], nnx.State]:
    """Builds the model's structure and parameters from a stream of tensors in Hugging Face's layout.

    Args:
      sharding: where each parameter goes, of which no more than this process's parts are copied.

    Raises:
      ModelError: a tensor is missing, unknown or of the wrong shape; `source` is named.
    """
    graphdef, empty = abstract(config, dtype=dtype, param_dtype=param_dtype)
    wanted = {place.name: (place, variable) for place, variable in slots(empty)}
    filled: dict[Path, nnx.Variable] = {}
    for name, array in tensors:
        if _ignored(name, config):
            continue
        if name not in wanted:
            raise ModelError(
                f"{source}: unexpected tensor {name!r}; the weights do not belong to the model that its "
                "config describes (or are an adapter: merge it into its base first)"
            )
        place, variable = wanted[name]
        filled[place.path] = variable.replace(
            _put(_checked(array, place, variable, source), variable.dtype, sharding and sharding(place.path))
        )
    missing = [place.name for place, _ in wanted.values() if place.path not in filled]
    if missing:
        shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise ModelError(
            f"{source}: {len(missing)} of {len(wanted)} tensors are missing ({shown}); "
            "the download is incomplete, or config.json is of another model"
        )
    ordered: Any = {path: filled[path] for path, _ in flat(empty)}
    return graphdef, nnx.from_flat_state(ordered)


def _checked(array: Tensor, place: Slot, variable: nnx.Variable, source: str) -> Tensor:
    """A view of `array` as it is wanted. Raises ModelError."""
    wanted = array.T if place.transposed else array
    if wanted.shape != variable.shape:
        expected = variable.shape[::-1] if place.transposed else variable.shape
        raise ModelError(
            f"{source}: tensor {place.name!r} has shape {tuple(array.shape)}, but config.json asks for "
            f"{tuple(expected)}; weights and config are of different models"
        )
    return wanted


def _put(array: Tensor, dtype: DTypeLike, sharding: jax.sharding.Sharding | None) -> jax.Array:
    # A copy, always: `array` may be a window on a file that is closed, or replaced, before the model is.
    # Turned and converted here: JAX would compile a program for each shape, and hold the array twice.
    def read(part: tuple[slice, ...]) -> np.ndarray:
        return np.array(array[part], dtype, order="C")

    if sharding is None:
        return jax.device_put(read((slice(None),) * len(array.shape)))
    # One part after the other: on the host there is never more of a tensor than that, twice.
    parts = [
        jax.device_put(read(part or ()), device).block_until_ready()
        for device, part in sharding.addressable_devices_indices_map(array.shape).items()
    ]
    return jax.make_array_from_single_device_arrays(array.shape, sharding, parts)


def named_arrays(params: nnx.State) -> Iterator[tuple[str, np.ndarray]]:
    """The inverse stream: (Hugging Face name, host array in Hugging Face's layout)."""
    for place, variable in slots(params):
        array = hosts.fetched(variable[...])
        yield place.name, np.ascontiguousarray(array.T) if place.transposed else array
