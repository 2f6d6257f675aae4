"""How parameters lie on a mesh: one table from what an axis of a weight is to the mesh axis that divides it.

While training, weights, gradients and moments lie in parts (FSDP, arXiv 1910.02054): a layer gathers its
weights, in the type that it computes in, just before it uses them, and again in the backward pass, where the
gradient is summed and scattered at once (the transpose of gathering). Nothing of them is kept between layers.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array

from envisions_jax.mesh_config import MeshError
from envisions_jax.models.config import LlamaConfig
from envisions_jax.models.llama import Block
from envisions_jax.models.weights import Path, flat
from envisions_jax.parallel.mesh import LANES, lanes

# What the axes of a parameter are, by the name of what holds it.
LOGICAL_AXES = {
    "embedding": ("vocabulary", "model"),
    "output_embedding": ("vocabulary", "model"),
    "query": ("model", "heads"),
    "key": ("model", "heads"),
    "value": ("model", "heads"),
    "output": ("heads", "model"),
    "gate": ("model", "inner"),
    "up": ("model", "inner"),
    "down": ("inner", "model"),
    "attention_norm": ("model",),
    "feed_forward_norm": ("model",),
    "final_norm": ("model",),
}
MESH_AXES = {"model": "fsdp", "vocabulary": "tensor", "heads": "tensor", "inner": "tensor", "rank": None}


def logical_axes(path: Path) -> tuple[str, ...]:
    """What the axes of the parameter of `Llama` at `path` are.

    >>> logical_axes(("layers", 3, "feed_forward", "down", "kernel"))
    ('inner', 'model')
    >>> logical_axes(("layers", 3, "feed_forward", "down", "adapter", "a"))
    ('inner', 'rank')
    """
    if path[-1] in ("embedding", "output_embedding"):
        return LOGICAL_AXES[str(path[-1])]
    if path[-2] == "adapter":
        size_in, size_out = LOGICAL_AXES[str(path[-3])]
        return (size_in, "rank") if path[-1] == "a" else ("rank", size_out)
    axes = LOGICAL_AXES[str(path[-2])]
    return axes[-1:] if path[-1] == "bias" else axes


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the parameters of a `Llama` of `config` lie on `mesh`: in parts, or whole in every lane.

    Raises MeshError: an axis of the mesh does not divide what it is to divide.
    """

    config: LlamaConfig
    mesh: Mesh
    divided: bool = True

    def __post_init__(self) -> None:
        config = self.config
        sizes = {
            ("fsdp", "the hidden size"): config.hidden_size,
            ("tensor", "the key/value heads"): config.num_kv_heads,
            ("tensor", "the feed-forward size"): config.intermediate_size,
        }
        for (axis, what), size in sizes.items():
            if size % self.mesh.shape[axis]:
                raise MeshError(f"mesh.{axis}={self.mesh.shape[axis]}: does not divide {what}, {size}")

    @property
    def lanes(self) -> int:
        """Parts that rows are divided into."""
        return lanes(self.mesh)

    def spec(self, path: Path) -> PartitionSpec:
        """Which mesh axis divides each axis of the parameter at `path`."""
        return _spec(map(self._divided_by, logical_axes(path)))

    def _divided_by(self, logical_axis: str) -> str | None:
        axis = MESH_AXES[logical_axis]
        if axis is None:
            return None
        parts = self.mesh.shape[axis]
        if logical_axis == "vocabulary" and self.config.vocab_size % parts:
            return None  # odd sizes are common, and whole it does no harm
        return axis if parts > 1 and (self.divided or axis not in LANES) else None

    def sharding(self, path: Path) -> NamedSharding:
        return NamedSharding(self.mesh, self.spec(path))

    def shardings(self, state: nnx.State) -> nnx.State:
        """The sharding of every parameter of a state, abstract or real."""
        return _mapped(state, lambda path, _: self.sharding(path))

    def rows(self, axes: int) -> NamedSharding:
        """Of an array of so many axes, of which lanes divide the first; caches have four, heads second.

        As JAX writes what it computed, without axes of one part: else programs are compiled once for each.
        """
        divided = tuple(axis for axis in LANES if self.mesh.shape[axis] > 1)
        lanes = divided[0] if len(divided) == 1 else divided or None
        return NamedSharding(self.mesh, _spec((lanes, self._divided_by("heads") if axes == 4 else None)))

    def of_this_process(self, state: nnx.State) -> nnx.State:
        """Weights of a larger mesh, each of whose devices has what it has here: the same arrays of the same
        devices, as those of this mesh.
        """

        def here(path: Path, whole: Any) -> Any:
            parts = {shard.device: shard.data for shard in whole.addressable_shards}
            return jax.make_array_from_single_device_arrays(
                whole.shape, self.sharding(path), [parts[device] for device in self.mesh.devices.flat]
            )

        return _mapped(state, here)

    def gather(self, block: Block, dtype: DTypeLike) -> Block:
        """A layer with its parameters whole, within `jax.shard_map` over the lanes.

        Matrices are gathered in `dtype`, which they are computed in; what is smaller as it is.
        """
        graphdef, state = nnx.split(block)
        return nnx.merge(graphdef, _mapped(state, lambda path, part: self._whole(path, part, dtype)))

    def gather_ends(self, params: nnx.State, dtype: DTypeLike) -> nnx.State:
        """Parameters with those that belong to no layer whole: embeddings and the last norm. As `gather`."""
        return _mapped(
            params,
            lambda path, part: part if path[0] == "layers" else self._whole(path, part, dtype),
        )

    def _whole(self, path: Path, part: Array, dtype: DTypeLike) -> Array:
        axes = tuple(self.spec(path))
        part = part.astype(dtype) if part.ndim > 1 else part
        part = _shared(part, tuple(axis for axis in LANES if axis not in axes))
        if "fsdp" not in axes:
            return part
        return jax.lax.all_gather(part, "fsdp", axis=axes.index("fsdp"), tiled=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _shared(x: Array, axes: tuple[str, ...]) -> Array:
    """What all lanes along `axes` have alike: its gradient is the sum of theirs."""
    del axes
    return x


_shared.defvjp(lambda x, axes: (x, None), lambda axes, _, gradient: (jax.lax.psum(gradient, axes),))


def in_lanes(layout: Layout | None, function: Callable[..., Any], shared: int) -> Callable[..., Any]:
    """`function` of arrays, computed in every lane by itself; as it is without a layout.

    Its first `shared` arguments are whole in every lane. The others, and what it returns, are divided along
    their first axis: a lane sees its part.
    """
    if layout is None:
        return function

    def divided(*arguments: Any) -> Any:
        own = len(arguments) - shared
        return jax.shard_map(
            function,
            mesh=layout.mesh,
            in_specs=(*(PartitionSpec() for _ in range(shared)), *(PartitionSpec(LANES) for _ in range(own))),
            out_specs=PartitionSpec(LANES),
            axis_names=set(LANES),
            check_vma=False,
        )(*arguments)

    return divided


def device_of(layout: Layout | None) -> jax.Device:
    """One of those that it lies on, which are all alike."""
    return jax.local_devices()[0] if layout is None else layout.mesh.devices.flat[0]


def platform_of(layout: Layout | None) -> str:
    """Of the devices that it lies on: "cpu", "gpu" or "tpu"."""
    return device_of(layout).platform


def shares_layers(layout: Layout | None) -> bool:
    """Do several devices share the inside of layers?"""
    return layout is not None and layout.mesh.shape["tensor"] > 1


def in_step(layout: Layout | None, rounds: Array) -> Array:
    """How often a loop has to go round in every lane, given what each lane needs.

    As often as it needs, but where devices share the inside of layers: the compiler makes these exchange
    across all lanes at once, so that all go round as often as any.
    """
    return jax.lax.pmax(rounds, LANES) if shares_layers(layout) else rounds


def device_bytes(tree: Any) -> int:
    """What each device holds of a tree of arrays, or of their shapes with shardings."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def of_lanes(sharding: NamedSharding) -> PartitionSpec:
    """Its part for `jax.shard_map` over the lanes, which leaves `tensor` to the compiler."""
    return _spec(axis if axis in LANES else None for axis in sharding.spec)


def _spec(axes: Iterable[str | tuple[str, ...] | None]) -> PartitionSpec:
    """Without undivided axes at its end, as JAX writes what it computed: else it is compiled for each."""
    kept = list(axes)
    while kept and kept[-1] is None:
        kept.pop()
    return PartitionSpec(*kept)


def _mapped(state: nnx.State, of: Callable[[Path, Any], Any]) -> nnx.State:
    """What `of` makes of every parameter, given its path and its array."""
    values: Any = {path: variable.replace(of(path, variable.get_value())) for path, variable in flat(state)}
    return nnx.from_flat_state(values)
