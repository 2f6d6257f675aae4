"""The mesh of devices: `data` and `fsdp` divide rows, `fsdp` what is trained, `tensor` the inside of layers.

A lane is one of the `data x fsdp` parts that rows are divided into. What a lane computes it computes alone,
but for the weights that it gathers layer by layer and the gradients that it shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh

from envisions_jax.mesh_config import AXES, MeshConfig

LANES = ("data", "fsdp")


def make_mesh(config: MeshConfig | None = None, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of `devices`, by default all there are. Raises ValueError as `MeshConfig.sizes`."""
    devices = jax.devices() if devices is None else devices
    sizes = (config or MeshConfig()).sizes(len(devices))
    return jax.make_mesh(sizes, AXES, (AxisType.Auto,) * len(AXES), devices=devices)


def lanes(mesh: Mesh | None) -> int:
    """How many parts rows are divided into; 1 without a mesh."""
    return 1 if mesh is None else math.prod(mesh.shape[axis] for axis in LANES)
