"""Where the time of a run goes: seconds by iteration and stage, compilation apart, kept across restarts.

Compilation is told by JAX itself (`jax.monitoring`), so that a stage is charged with its own work only and
the number of compiled programs can be reported. Times live in a file of their own in the work directory: they
are no part of what a resumed run must repeat.
"""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from envisions_jax.workdir import write_atomically

logger = logging.getLogger(__name__)

COMPILE = "compile"
_BACKEND = "/jax/core/compile/backend_compile_duration"
_EVENTS = (
    _BACKEND,
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
)

_compiling = {"seconds": 0.0, "programs": 0.0}
_listening = False


class Clock:
    """Adds up seconds by (iteration, stage). Iteration -1 is the base model's evaluation.

    Args:
      path: JSON file that keeps the times of earlier starts of the same run; None keeps nothing.
    """

    def __init__(self, path: Path | None = None) -> None:
        _listen()
        self._path = path
        self._seconds: dict[str, dict[str, float]] = {}
        self._lock = threading.Lock()
        if path is not None and path.exists():
            self._seconds = _read(path)

    @contextmanager
    def measure(self, iteration: int, stage: str) -> Iterator[None]:
        """Charge what happens inside to `stage`, without what is compiled meanwhile."""
        begin, compiling = time.perf_counter(), _compiling["seconds"]
        yield
        elapsed, compiled = time.perf_counter() - begin, _compiling["seconds"] - compiling
        self.add(iteration, stage, max(0.0, elapsed - compiled))
        self.add(iteration, COMPILE, compiled)

    def add(self, iteration: int, stage: str, seconds: float) -> None:
        """Charge `seconds` to `stage`. Any thread."""
        with self._lock:
            times = self._seconds.setdefault(str(iteration), {})
            times[stage] = times.get(stage, 0.0) + seconds

    def save(self) -> None:
        """Write the times where the next start finds them."""
        if self._path is not None:
            with self._lock:
                write_atomically(self._path, json.dumps(self._seconds) + "\n")

    def seconds(self, iteration: int) -> dict[str, float]:
        """Seconds of each stage of an iteration, compilation under its own name."""
        return dict(self._seconds.get(str(iteration), {}))


def _read(path: Path) -> dict[str, dict[str, float]]:
    """The times there; none, with a warning, if the file is damaged: no result depends on them."""
    try:
        times = json.loads(path.read_text(encoding="utf-8"))
        return {
            iteration: {stage: float(seconds) for stage, seconds in stages.items()}
            for iteration, stages in times.items()
        }
    except (OSError, ValueError, TypeError, AttributeError) as error:
        logger.warning("%s is damaged (%s): times are counted anew", path, error)
        return {}


def compiled_programs() -> int:
    """How many programs this process has compiled (or read from the compile cache) so far."""
    return int(_compiling["programs"])


def _listen() -> None:
    """Have JAX report compilations, once a process."""
    global _listening
    if not _listening:
        jax.monitoring.register_event_duration_secs_listener(_count)
        _listening = True


def _count(event: str, duration_secs: float, **_: str | int) -> None:
    if event in _EVENTS:
        _compiling["seconds"] += duration_secs
        _compiling["programs"] += event == _BACKEND
