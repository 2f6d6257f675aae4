"""What the commands have in common: the model that they open for a run, and how they tell errors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import jax

import envs
from envisions_jax import hosts
from envisions_jax.budget import ADVICE
from envisions_jax.command_line import LostProcessError, RunError
from envisions_jax.config import Config
from envisions_jax.config_rules import ConfigError
from envisions_jax.joining import HostsError
from envisions_jax.mesh_config import MeshError
from envisions_jax.metrics import MetricsError
from envisions_jax.models.config import ModelError
from envisions_jax.models.default_model import cache_folder
from envisions_jax.parallel import make_mesh
from envisions_jax.policy import Policy
from envisions_jax.store import StoreError
from envisions_jax.training import CheckpointError, TrainingError

# Name the GPUs that a scheduler gives to a job.
_GPUS_GIVEN = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "CUDA_VISIBLE_DEVICES")


@contextmanager
def speaking_errors() -> Iterator[None]:
    """Turn what the user can put right into `RunError`, which ends in one line."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        told = str(error).splitlines()[0][:200]
        if "RESOURCE_EXHAUSTED" in told:
            raise RunError(
                f"a device has no memory left ({told}); {ADVICE}: --dry_run tells what a run takes"
            ) from error
        _check_lost(error)
        raise
    except (
        CheckpointError,
        HostsError,
        MetricsError,
        ModelError,
        StoreError,
        TrainingError,
        envs.EnvironmentFailure,
    ) as error:
        raise RunError(str(error)) from error
    except ValueError as error:
        _check_lost(error)
        raise


def _check_lost(error: Exception) -> None:
    """Raise LostProcessError if that is what `error` says."""
    if hosts.is_of_another(error):
        told = str(error).splitlines()[0][:200]
        raise LostProcessError(
            f"another process of this run has ended, or cannot be reached ({told}); start all of them again "
            "to go on where it was"
        ) from error


def told_devices(policy: Policy) -> str:
    """Where a run computes, for whoever starts it; a warning if that is not where it was meant to be."""
    devices = jax.devices()
    where = f" in {hosts.count()} processes" if hosts.count() > 1 else ""
    told = f"{len(devices)} x {devices[0].device_kind}{where}, computing in {policy.dtype.name}"
    given = next((name for name in _GPUS_GIVEN if os.environ.get(name, "") not in ("", "-1")), None)
    if policy.platform == "cpu" and given and not os.environ.get("JAX_PLATFORMS"):
        told += (
            f"; {given}={os.environ[given]} tells of GPUs, which JAX does not find: see requirements-gpu.txt"
        )
    return told


def open_policy(config: Config) -> Policy:
    """The base model on the devices there are, with compiled programs remembered between starts.

    Raises ConfigError if `mesh` goes neither with these devices nor with this model.
    """
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    try:
        mesh = make_mesh(config.mesh)
        return Policy.from_pretrained(
            config.model.path,
            dtype=config.model.dtype,
            param_dtype=config.model.param_dtype,
            mesh=mesh if mesh.size > 1 else None,
        )
    except MeshError as error:
        raise ConfigError(str(error)) from error
