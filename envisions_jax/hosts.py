"""The processes of one run, one on each host: what each of them does, and what they tell each other.

All run the same program. Training is one computation on all their devices. Sampling, environments and
evaluation are divided: each process samples its part of a shard on its own devices, runs it in its own
environment, and all tell each other what came of it. So every process knows the whole run and decides the
same; the first one alone writes store, metrics and times. All of them reach the work directory: each writes
its part of checkpoints there, and its pictures of pages.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import jax
import numpy as np
from jax._src import distributed  # JAX has no other way to its coordination service
from jax.experimental import multihost_utils
from jax.sharding import Sharding

from envisions_jax import joining
from envisions_jax.joining import HostsError

T = TypeVar("T")

# Of a process that no longer answers, the others are told after this time, and end.
HEARTBEAT_S = 25
SHUTDOWN_S = 600  # that one waits for the others at its end; who has ended is known by then

_LOST = r"gloo|connection (closed|reset|refused)|coordination|heartbeat|peer|nccl|barrier|unavailable"


def start() -> None:
    """Join the other processes, before anything is computed: as variables say, or SLURM or a TPU pod.

    Raises HostsError: nothing says who takes part (VariablesError), or the others cannot be reached.
    """
    where = joining.variables()
    if where:
        joining.join(where["coordinator_address"], where["num_processes"], where["process_id"])
    # Else a SIGTERM is taken for a notice that nobody here waits for, and the run goes on.
    jax.config.update("jax_enable_preemption_service", False)
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            **where,
            initialization_timeout=joining.START_S,
            heartbeat_timeout_seconds=HEARTBEAT_S,
            shutdown_timeout_seconds=SHUTDOWN_S,
        )
    except (ValueError, RuntimeError) as error:
        told = (str(error) or type(error).__name__).splitlines()[0]
        if not where and "should be defined" in told:  # of an argument of JAX's
            told = "nothing says who they are"
        raise HostsError(
            f"distributed: cannot join the other processes ({told}); start one on each host by SLURM or on a "
            f"TPU pod, or set {', '.join(joining.VARIABLES)}"
        ) from error


def is_of_another(error: Exception) -> bool:
    """Does an error of JAX's say that another process of this run is no longer there?"""
    if isinstance(error, jax.errors.JaxRuntimeError):
        says_so = bool(re.search(_LOST, str(error), re.IGNORECASE))
    else:
        says_so = isinstance(error, ValueError) and bool(re.match(r"[A-Z_]+: Gloo ", str(error)))
    return says_so and count() > 1


def index() -> int:
    """Which process this is."""
    return jax.process_index()


def count() -> int:
    """How many there are."""
    return jax.process_count()


def is_first() -> bool:
    """Is this the process that writes?"""
    return index() == 0


def part(items: Sequence[T]) -> Sequence[T]:
    """What of `items` is this process's to do, as many neighbours as others have; all where there is one."""
    size = -(-len(items) // count())
    return items[index() * size : (index() + 1) * size]


def gather(value: Any) -> list[Any]:
    """`value` of every process, in their order. All have to call it."""
    if count() == 1:
        return [value]
    told = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = multihost_utils.process_allgather(np.array([len(told)], np.int32)).reshape(-1)
    # A power of two: each length that is exchanged is a program to compile.
    padded = np.zeros(max(256, 1 << int(sizes.max() - 1).bit_length()), np.uint8)
    padded[: len(told)] = told
    everything = np.asarray(multihost_utils.process_allgather(padded)).reshape(count(), -1)
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(everything, sizes, strict=True)]


def on_first(action: Callable[[], T]) -> T:
    """What `action` gives on the first process, on every one. All have to call it.

    Raises what it raises; the others raise HostsError.
    """
    if count() == 1:
        return action()
    result: Any = None
    error: Exception | None = None
    if is_first():
        try:
            result = action()
        except Exception as raised:
            error = raised
    told, result = gather((None if error is None else str(error), result))[0]
    if error is not None:
        raise error
    if told is not None:
        raise HostsError(f"the first process of the run: {told}")
    return result


def meet(place: str, timeout_ms: int) -> None:
    """Return when every process has come to `place`, to each at most once. From any thread, without devices.

    Raises HostsError: some have ended, or have not come in time.
    """
    with _reached():
        _service().wait_at_barrier(place, timeout_ms)


def tell(about: str, what: str) -> None:
    """Leave `what` for the others to see by `told`, once, from any thread. Raises HostsError as `meet`."""
    with _reached():
        _service().key_value_set(f"{about}/{index()}", what.encode(errors="replace").decode())


def told(about: str) -> dict[int, str]:
    """Who has told what. Raises HostsError as `meet`."""
    with _reached():
        found = _service().key_value_dir_get(f"{about}/")
    return {int(name.rpartition("/")[2]): what for name, what in found}


@contextmanager
def _reached() -> Iterator[None]:
    """What JAX says where others are not, as HostsError."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        said = str(error).splitlines()[0][:200]
        raise HostsError(f"another process of this run has ended, or cannot be reached ({said})") from error


def _service() -> Any:
    """JAX's coordination service, which is there when there is more than one process."""
    return distributed.global_state.client


def placed(array: Any, sharding: Sharding) -> Any:
    """An array that every process has, where `sharding` says."""
    if sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    return jax.make_array_from_callback(np.shape(array), sharding, lambda at: np.asarray(array)[at])


def fetched(array: Any) -> np.ndarray:
    """A whole array on the host. All have to call it where its devices are not all this process's."""
    if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)
