"""A whole run on a mesh of eight devices beside the same on one."""

from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from envisions_jax import entry_points
from envisions_jax.config import Config
from envisions_jax.config_rules import ConfigError
from envisions_jax.main import execute
from envisions_jax.metrics import read_metrics
from envisions_jax.parallel import make_mesh
from envisions_jax.progress import Reporter
from envisions_jax.store import TrajectoryStore
from envisions_jax.task_sets import given_tasks
from envisions_jax.training import restore_params
from envisions_jax.workdir import WorkDir, check_workdir
from tests.tiny_experiment import make_config, make_experiment

ITERATIONS = 2


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    make_experiment(folder)
    return folder


def run(config: Config, folder: Path, devices: int = 8) -> WorkDir:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry_points, "make_mesh", lambda sizes: make_mesh(sizes, jax.devices()[:devices]))
        workdir = check_workdir(folder, config)
        execute(config, workdir, given_tasks(config), Reporter(bars=False))
    return workdir


@pytest.fixture(scope="module")
def config(experiment: Path) -> Config:
    return make_config(experiment, loop__iterations=ITERATIONS, checkpoint__keep=ITERATIONS)


@pytest.fixture(scope="module")
def alone(config: Config, tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    return run(config, tmp_path_factory.mktemp("alone"), devices=1)


@pytest.fixture(scope="module", params=[{}, {"mesh__data": 2, "mesh__tensor": 2}], ids=str)
def together(
    request: pytest.FixtureRequest, experiment: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkDir]:
    changes = {"loop__iterations": ITERATIONS, "checkpoint__keep": ITERATIONS, **request.param}
    yield run(make_config(experiment, **changes), tmp_path_factory.mktemp("together"))


def test_candidates_and_rewards_are_those_of_one_device(alone: WorkDir, together: WorkDir) -> None:
    stores = [TrajectoryStore(workdir.store, read_only=True) for workdir in (alone, together)]
    for iteration in range(ITERATIONS):
        expected, found = (list(store.trajectories(iteration)) for store in stores)
        assert [(one.task_id, one.stage, one.k, one.text, one.outcome) for one in expected] == [
            (one.task_id, one.stage, one.k, one.text, one.outcome) for one in found
        ]
        np.testing.assert_allclose(
            [one.self_reward for one in expected], [one.self_reward for one in found], atol=1e-4
        )
    for store in stores:
        store.close()


def test_policies_and_accuracies_are_those_of_one_device(
    alone: WorkDir, together: WorkDir, config: Config
) -> None:
    like = entry_points.open_policy(config)
    for iteration in range(ITERATIONS):
        expected, found = (
            restore_params(workdir.policy(iteration), like.params)[0] for workdir in (alone, together)
        )
        for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
            assert np.abs(np.asarray(one) - np.asarray(other)).max() <= 1e-4
    expected, found = (
        [record["accuracy"] for record in read_metrics(workdir.metrics) if record["kind"] == "iteration"]
        for workdir in (alone, together)
    )
    assert expected == found


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_weights_written_on_eight_devices_are_read_on_fewer(
    devices: int, config: Config, together: WorkDir
) -> None:
    """To the same bits, and in the parts that they have there."""
    wanted, expected = _restored(config, together, devices), _restored(config, together, 8)
    for leaf, other in zip(wanted, expected, strict=True):
        assert np.array_equal(leaf, other)


def _restored(config: Config, workdir: WorkDir, devices: int) -> list[np.ndarray]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry_points, "make_mesh", lambda sizes: make_mesh(sizes, jax.devices()[:devices]))
        like = entry_points.open_policy(config).params
    params, _ = restore_params(workdir.policy(ITERATIONS - 1), like)
    for leaf, wanted in zip(jax.tree.leaves(params), jax.tree.leaves(like), strict=True):
        assert leaf.sharding == wanted.sharding
    return [np.asarray(leaf) for leaf in jax.tree.leaves(params)]


def test_a_mesh_that_does_not_fit_is_told(experiment: Path) -> None:
    with pytest.raises(ConfigError, match="3 parts, which does not go with 8 devices"):
        entry_points.open_policy(make_config(experiment, mesh__data=3))
    with pytest.raises(ConfigError, match=r"mesh.tensor=8: does not divide"):
        entry_points.open_policy(make_config(experiment, mesh__data=1, mesh__fsdp=1, mesh__tensor=8))
