"""Accelerators by name, "a100x8" or "v5p-8": what they have, and how their compilers are asked for them.

Figures are the makers' (data sheets of the A100 SXM4 80 GB, H100 SXM5, TPU v4, v5e, v5p and v6e): matrix
products in bfloat16 without sparsity, and what one device can send in one direction, all its links together.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from envisions_jax.config_rules import ConfigError
from envisions_jax.models.default_model import cache_folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """One device."""

    flops: float  # a second, bfloat16
    bandwidth: float  # bytes a second of its memory
    links: float  # bytes a second to the others
    memory: int  # bytes
    description: Mapping[str, int | float] = dataclasses.field(default_factory=dict)  # for CUDA's compiler


# What XLA's compiler wants to know of a GPU (its GpuDeviceInfoProto), beside what is the same for all.
_A100 = {
    "shared_memory_per_core": 167_936,
    "core_count": 108,
    "fpus_per_core": 64,
    "memory_bandwidth": 2_039_000_000_000,
    "l2_cache_size": 41_943_040,
    "clock_rate_ghz": 1.41,
    "device_memory_size": 85_000_000_000,
    "shared_memory_per_block_optin": 166_912,
}
_H100 = {
    "shared_memory_per_core": 233_472,
    "core_count": 132,
    "fpus_per_core": 128,
    "memory_bandwidth": 3_352_000_000_000,
    "l2_cache_size": 52_428_800,
    "clock_rate_ghz": 1.98,
    "device_memory_size": 85_000_000_000,
    "shared_memory_per_block_optin": 232_448,
}
_EVERY_GPU = {
    "threads_per_block_limit": 1024,
    "threads_per_warp": 32,
    "shared_memory_per_block": 49_152,
    "threads_per_core_limit": 2048,
    "block_dim_limit_x": 2_147_483_647,
    "block_dim_limit_y": 65_535,
    "block_dim_limit_z": 65_535,
    "registers_per_core_limit": 65_536,
    "registers_per_block_limit": 65_536,
}
GPUS = {
    "a100": Chip(flops=312e12, bandwidth=2.039e12, links=300e9, memory=85_000_000_000, description=_A100),
    "h100": Chip(flops=989e12, bandwidth=3.352e12, links=450e9, memory=85_000_000_000, description=_H100),
}
_NAMES = {"a100": ("NVIDIA A100-SXM4-80GB", 8), "h100": ("NVIDIA H100 80GB HBM3", 9)}
TPUS = {
    "v4": Chip(flops=275e12, bandwidth=1.228e12, links=300e9, memory=32 << 30),
    "v5e": Chip(flops=197e12, bandwidth=0.819e12, links=200e9, memory=16 << 30),
    "v5p": Chip(flops=459e12, bandwidth=2.765e12, links=600e9, memory=95 << 30),
    "v6e": Chip(flops=918e12, bandwidth=1.640e12, links=448e9, memory=32 << 30),
}
CORES = {"v4": 2, "v5p": 2, "v5e": 1, "v6e": 1}  # that a TPU's name counts for each of its chips
GPUS_OF_A_HOST = 8
# How so many chips are connected, as their makers sell them.
_TORUS = {1: "1x1x1", 4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8"}
_GRID = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}


@dataclasses.dataclass(frozen=True)
class Target:
    """Devices to plan for."""

    name: str
    kind: str  # "gpu" or "tpu"
    chip: Chip
    devices: int
    topology: str  # in the words of its compiler
    generation: str

    def prepare(self) -> None:
        """Ask for its compiler, before JAX is imported.

        Raises ConfigError: the compiler is not installed.
        """
        _find_compilers()
        package, extra = ("libtpu", "tpu") if self.kind == "tpu" else ("jax_plugins.xla_cuda12", "cuda12")
        if not _is_installed(package):
            raise ConfigError(
                f"target={self.name!r}: its compiler is not installed: `make compilers` and `make plan`, or "
                f"`pip install -e '.[{extra}]'` (no {self.kind.upper()} is needed)"
            )
        os.environ["JAX_PLATFORMS"] = "cpu"  # where this runs; what it compiles for is told apart
        if self.kind == "gpu":
            os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # of a driver, which is not here
        else:
            os.environ |= {
                "TPU_SKIP_MDS_QUERY": "1",  # there is no machine of Google's to ask
                "TPU_WORKER_HOSTNAMES": "localhost",
                "TPU_ACCELERATOR_TYPE": f"{self.generation}-{self.devices * CORES[self.generation]}",
                "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # nobody else's TPU is taken
            }

    def topology_devices(self) -> list[Any]:
        """Its devices, to compile for. Only after `prepare`."""
        from jax.experimental import topologies

        if self.kind == "tpu":
            topology = topologies.get_topology_desc(platform="tpu", topology_name=self.topology)
        else:
            topology = topologies.get_topology_desc(
                platform="cuda",
                topology_name=self.generation,
                topology=self.topology,
                target_config=_target_config(self.generation),
            )
        return list(topology.devices)


def parse_target(name: str) -> Target:
    """The target called `name`. Raises ConfigError.

    >>> parse_target("a100x16").topology, parse_target("v5p-8").devices
    ('2x1x8', 4)
    """
    given, name = name, name.lower().replace("v5litepod-", "v5e-")  # which is Google Cloud's name for it
    if found := re.fullmatch(r"([a-z]+\d+)x(\d+)", name):
        generation, devices = found[1], int(found[2])
        hosts, rest = divmod(devices, GPUS_OF_A_HOST)
        if generation in GPUS and devices and (devices < GPUS_OF_A_HOST or not rest):
            topology = f"{hosts}x1x{GPUS_OF_A_HOST}" if hosts else f"1x1x{devices}"
            return Target(name, "gpu", GPUS[generation], devices, topology, generation)
    if (found := re.fullmatch(r"(v\d[a-z]?)-(\d+)", name)) and found[1] in TPUS:
        chips, rest = divmod(int(found[2]), CORES[found[1]])
        shapes = _GRID if found[1] in ("v5e", "v6e") else _TORUS
        if not rest and chips in shapes:
            return Target(name, "tpu", TPUS[found[1]], chips, f"{found[1]}:{shapes[chips]}", found[1])
        sizes = ", ".join(f"{found[1]}-{chips * CORES[found[1]]}" for chips in shapes)
        raise ConfigError(f"target={given!r}: there are {sizes}")
    raise ConfigError(
        f"target={given!r}: name GPUs as {' or '.join(f'{one}x8' for one in GPUS)} (whole machines of "
        f"{GPUS_OF_A_HOST} beyond that), TPUs as {', '.join(f'{one}-16' for one in TPUS)}, or 'here'"
    )


def _find_compilers() -> None:
    """Those that `make compilers` installed."""
    folder = cache_folder() / "compilers"
    if folder.is_dir() and str(folder) not in sys.path:
        sys.path.append(str(folder))


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of what it is in
        return False


def _target_config(generation: str) -> str:
    """The text form of XLA's message GpuTargetConfigProto."""
    description, major = _NAMES[generation]
    facts = _EVERY_GPU | dict(GPUS[generation].description)
    told = "".join(f"  {name}: {value}\n" for name, value in facts.items())
    return (
        f"gpu_device_info {{\n{told}  cuda_compute_capability {{ major: {major} minor: 0 }}\n}}\n"
        'platform_name: "CUDA"\ndnn_version_info { major: 9 minor: 8 }\n'
        f'device_description_str: "{description}"\n'
    )
