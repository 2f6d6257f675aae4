"""The mesh from its config, what an axis of a weight is, and all of it on eight fake devices."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from envisions_jax.command_line import for_fake_devices
from envisions_jax.models import llama
from envisions_jax.models.weights import flat
from envisions_jax.parallel import MeshConfig
from envisions_jax.parallel.layout import MESH_AXES, logical_axes
from envisions_jax.testing import tiny_config

DEVICES = 8
PATIENCE_S = 300  # long enough for a busy machine, and short enough that XLA speaks before the test ends


@pytest.mark.multidevice
@pytest.mark.timeout(1200)
def test_on_eight_devices() -> None:
    """What is in `devices/`, in a process that has as many: XLA reads the number once."""
    environment = {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES}",
        "ENVISIONS_TEST_DEVICES": str(DEVICES),
    }
    environment |= for_fake_devices(environment, PATIENCE_S)
    # What XLA says before it aborts goes past Python to standard error: left where it can be read.
    command = [sys.executable, "-m", "pytest", "-q", "--capture=sys", "-W", "ignore"]
    command.append(str(Path(__file__).parent / "devices"))
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[:3000]}\n{done.stderr[-3000:]}"
    assert re.search(r"^\d+ passed in", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        (MeshConfig(), (1, 8, 1)),
        (MeshConfig(data=2), (2, 4, 1)),
        (MeshConfig(tensor=2), (1, 4, 2)),
        (MeshConfig(data=0, fsdp=2, tensor=2), (2, 2, 2)),
        (MeshConfig(data=8, fsdp=1), (8, 1, 1)),
    ],
)
def test_an_open_axis_takes_what_is_left(config: MeshConfig, sizes: tuple[int, ...]) -> None:
    assert config.sizes(DEVICES) == sizes


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"data": 3}, "data 3 x tensor 1 is 3 parts, which does not go with 8 devices"),
        ({"fsdp": 4}, "data 1 x fsdp 4 x tensor 1 is 4 parts, which does not go with 8 devices"),
        ({"fsdp": 16}, "16 parts"),
        ({"data": 0}, "mesh.data=0 and mesh.fsdp=0: leave at most one of them open"),
        ({"tensor": -1}, "mesh.tensor=-1: give the number of parts"),
    ],
)
def test_a_mesh_that_does_not_go_with_the_devices_is_refused(sizes: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        MeshConfig(**sizes).sizes(DEVICES)


@pytest.mark.parametrize("changes", [{}, {"tie_embeddings": True, "attention_bias": True, "mlp_bias": True}])
def test_every_parameter_has_an_axis_that_fsdp_divides_or_is_a_bias(changes: dict[str, bool]) -> None:
    _, state = llama.abstract(tiny_config(**changes))
    for path, variable in flat(state):
        axes = logical_axes(path)
        assert len(axes) == len(variable.shape)
        assert "model" in axes or path[-1] == "bias"
        assert set(axes) <= MESH_AXES.keys()
