"""The mesh of devices: `data` and `fsdp` divide rows, `fsdp` what is trained, `tensor` the inside of layers.

A lane is one of the `data x fsdp` parts that rows are divided into. What a lane computes it computes alone,
but for the weights that it gathers layer by layer and the gradients that it shares.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import jax
from jax.sharding import AxisType, Mesh
from jaxtyping import Array

AXES = ("data", "fsdp", "tensor")
LANES = ("data", "fsdp")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """How many parts each axis has. 0: as many as there are devices left; of one axis at most."""

    data: int = 1
    fsdp: int = 0
    tensor: int = 1

    def sizes(self, devices: int) -> tuple[int, ...]:
        """Of each of `AXES`, on so many devices.

        Raises ValueError: the numbers do not go with that many devices.

        >>> MeshConfig(data=2).sizes(8)
        (2, 4, 1)
        """
        given = dataclasses.asdict(self)
        for name, size in given.items():
            if size < 0:
                raise ValueError(f"mesh.{name}={size}: give the number of parts, or 0 for what is left")
        named = math.prod(size for size in given.values() if size)
        free = [name for name, size in given.items() if not size]
        if len(free) > 1:
            raise ValueError(f"mesh.{free[0]}=0 and mesh.{free[1]}=0: leave at most one of them open")
        if devices % named or (not free and named != devices):
            parts = " x ".join(f"{name} {size}" for name, size in given.items() if size)
            raise ValueError(f"mesh: {parts} is {named} parts, which does not go with {devices} devices")
        return tuple(given[name] or devices // named for name in AXES)


def make_mesh(config: MeshConfig | None = None, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of `devices`, by default all there are. Raises ValueError as `MeshConfig.sizes`."""
    devices = jax.devices() if devices is None else devices
    sizes = (config or MeshConfig()).sizes(len(devices))
    return jax.make_mesh(sizes, AXES, (AxisType.Auto,) * len(AXES), devices=devices)


def lanes_of(x: Array) -> frozenset[str]:
    """The axes over which `x` differs, within `jax.shard_map`."""
    return jax.typeof(x).manual_axis_type.varying


def own(x: Array, axes: Iterable[str]) -> Array:
    """`x` as something that may differ over `axes`, as a loop's first value must where later ones do."""
    new = tuple(axis for axis in axes if axis not in lanes_of(x))
    return jax.lax.pcast(x, new, to="varying") if new else x


def lanes(mesh: Mesh | None) -> int:
    """How many parts rows are divided into; 1 without a mesh."""
    return 1 if mesh is None else math.prod(mesh.shape[axis] for axis in LANES)
