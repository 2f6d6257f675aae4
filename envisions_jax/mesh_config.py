"""How many parts the mesh of devices has; see `envisions_jax.parallel`, which imports JAX."""

import dataclasses
import math

AXES = ("data", "fsdp", "tensor")


class MeshError(ValueError):
    """A mesh that does not go with the devices, or with the model."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """How many parts each axis has. 0: as many as there are devices left; of one axis at most."""

    data: int = 1  # whole copies of what is trained, each with its own rows
    fsdp: int = 0  # parts that weights, gradients and moments lie in, each with its own rows
    tensor: int = 1  # parts of the inside of layers

    def __post_init__(self) -> None:
        for name, size in dataclasses.asdict(self).items():
            if size < 0:
                raise MeshError(f"mesh.{name}={size}: give the number of parts, or 0 for what is left")
        if len(free := self._free) > 1:
            raise MeshError(f"mesh.{free[0]}=0 and mesh.{free[1]}=0: leave at most one of them open")

    def sizes(self, devices: int) -> tuple[int, ...]:
        """Of each of `AXES`, on so many devices.

        Raises MeshError: the numbers do not go with that many devices.

        >>> MeshConfig(data=2).sizes(8)
        (2, 4, 1)
        """
        given = dataclasses.asdict(self)
        named = math.prod(size for size in given.values() if size)
        if devices % named or (not self._free and named != devices):
            parts = " x ".join(f"{name} {size}" for name, size in given.items() if size)
            raise MeshError(
                f"mesh: {parts} is {named} parts, which does not go with {devices} devices; make data x fsdp "
                "x tensor that many, or leave one of them 0"
            )
        return tuple(given[name] or devices // named for name in AXES)

    @property
    def _free(self) -> list[str]:
        return [name for name, size in dataclasses.asdict(self).items() if not size]
