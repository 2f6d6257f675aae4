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
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Sharding

T = TypeVar("T")

# Of a process that no longer answers, the others are told after this time, and end.
HEARTBEAT_S = 25
SHUTDOWN_S = 600  # that one waits for the others at its end; who has ended is known by then
# Say who takes part where no scheduler does: host:port of the first process, how many there are, which it is.
VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


_LOST = r"gloo|connection (closed|reset|refused)|coordination|heartbeat|peer|nccl|barrier|unavailable"


class HostsError(RuntimeError):
    """The processes of a run cannot go on together."""


def start() -> None:
    """Join the other processes, before anything is computed: as `VARIABLES` say, or SLURM or a TPU pod.

    Raises HostsError: nothing says who takes part, or the others cannot be reached.
    """
    address, processes, number = (os.environ.get(name, "") for name in VARIABLES)
    where: dict[str, Any] = {}
    if processes or number:
        if not (address and processes and number):
            raise HostsError(f"distributed: give all of {', '.join(VARIABLES)}, or none of them")
        if not (processes.isdecimal() and number.isdecimal() and int(number) < int(processes)):
            raise HostsError(f"distributed: {VARIABLES[2]}={number} is none of {VARIABLES[1]}={processes}")
        where = {"coordinator_address": address, "num_processes": int(processes), "process_id": int(number)}
    # Else a SIGTERM is taken for a notice that nobody here waits for, and the run goes on.
    jax.config.update("jax_enable_preemption_service", False)
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            **where, heartbeat_timeout_seconds=HEARTBEAT_S, shutdown_timeout_seconds=SHUTDOWN_S
        )
    except (ValueError, RuntimeError) as error:
        told = (str(error) or type(error).__name__).splitlines()[0]
        raise HostsError(
            f"distributed: cannot join the other processes ({told}); start one on each host by SLURM or on a "
            f"TPU pod, or set {', '.join(VARIABLES)}"
        ) from error


def is_of_another(error: Exception) -> bool:
    """Does an error of JAX's say that another process of this run is no longer there?"""
    return count() > 1 and bool(re.search(_LOST, str(error), re.IGNORECASE))


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
