"""The mesh of devices: `data` and `fsdp` divide rows, `fsdp` what is trained, `tensor` the inside of layers.

A lane is one of the `data x fsdp` parts that rows are divided into. What a lane computes it computes alone,
but for the weights that it gathers layer by layer and the gradients that it shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from envisions_jax.mesh_config import AXES, MeshConfig, MeshError

LANES = ("data", "fsdp")


def make_mesh(config: MeshConfig | None = None, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of `devices`, by default all there are. Raises MeshError as `MeshConfig.sizes`."""
    devices = jax.devices() if devices is None else devices
    sizes = (config or MeshConfig()).sizes(len(devices))
    return jax.make_mesh(sizes, AXES, (AxisType.Auto,) * len(AXES), devices=devices)


def own_mesh(mesh: Mesh) -> Mesh:
    """The part of `mesh` whose devices are this process's: all of it where there is one process.

    Raises MeshError: devices that share the inside of layers are of several processes.
    """
    tensor = mesh.shape["tensor"]
    groups = mesh.devices.reshape(-1, tensor)
    here = jax.process_index()
    own = [group for group in groups if group[0].process_index == here]
    if any(device.process_index != group[0].process_index for group in groups for device in group):
        raise MeshError(
            f"mesh.tensor={tensor}: the inside of layers would be divided over several hosts; at most the "
            "devices of one host"
        )
    if len(own) == len(groups):
        return mesh
    devices = np.array(own).reshape(1, len(own), tensor)
    return Mesh(devices, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def lanes(mesh: Mesh | None) -> int:
    """How many parts rows are divided into; 1 without a mesh."""
    return 1 if mesh is None else math.prod(mesh.shape[axis] for axis in LANES)
