"""Writing checkpoints in threads, in all processes of a run: all have written one, or none has.

Orbax writes in a thread of each process, and these wait for each other: before the first one gives the
checkpoint its name, and until it has. A thread that fails does not come, and the others would wait for it for
20 minutes; here another comes instead and has told why, and theirs fail too.

On accelerators arrays are copied to the host and the caller goes on. On CPU Orbax reads them in place, and
`save` returns when they are written: to go on meanwhile would take a copy, as much memory again.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from envisions_jax import hosts
from envisions_jax.joining import HostsError
from envisions_jax.training import stored_tree
from envisions_jax.training.stored_tree import first_line

_TIMEOUT_S = 1200  # for one checkpoint to be written by all; Orbax's own
_MOST_ERRORS = 20  # that one checkpoint can leave behind: its items, and Orbax's own notes
_WRITTEN_AT_ONCE = 256 * 10**6  # bytes on CPU: 1.6 GB at once took 1 to 3 GiB more, these 0.2 to 0.5, as fast
_UNLIMITED = 96 * 10**9  # Orbax's own
_saves = itertools.count()  # the same in every process: all of them save the same


class Saver:
    """Writes one checkpoint at a time, and reads.

    Not by Orbax's `CheckpointManager`: when its threads have written, they exchange by the devices, between
    computations of which each process may have begun another.
    """

    def __init__(
        self, when_written: Callable[[], None] | None = None, when_there: Callable[[], None] | None = None
    ) -> None:
        """Both are called in another thread: when all is written but still under a temporary name (in the
        first process), and when it has its own (in each).
        """
        self._meetings = _Meetings()
        self._when_there = when_there
        # Or has failed. `wait` does not join the thread: Ctrl-C meanwhile would count as its end.
        self._is_written = threading.Event()
        self._is_written.set()
        self._error: BaseException | None = None
        # Folders are made before `save` returns: with one that cannot be made, threads would wait 5 minutes.
        self._options = ocp.AsyncOptions(
            timeout_secs=_TIMEOUT_S,
            barrier_sync_fn=self._meetings.barrier,
            post_finalization_callback=when_written,
            create_directories_asynchronously=False,
        )
        self._in_place = jax.default_backend() == "cpu"
        self._most = _WRITTEN_AT_ONCE if self._in_place else _UNLIMITED
        self._orbax = self._make()

    def _make(self) -> ocp.AsyncCheckpointer:
        handlers = {
            # Declared as an int, and only compared and subtracted.
            "tree": ocp.StandardCheckpointHandler(save_concurrent_gb=self._most / 10**9),
            "metadata": ocp.JsonCheckpointHandler(),
        }
        options = ocp.CompositeOptions(async_options=self._options)
        return ocp.AsyncCheckpointer(
            ocp.CompositeCheckpointHandler(composite_options=options, **handlers), async_options=self._options
        )

    def save(self, folder: Path, tree: Any, metadata: Mapping[str, Any]) -> None:
        """Begin to write `tree` and `metadata` to `folder`; returns when the arrays are copied, on CPU when
        all is written, and raises as `wait` there. The arrays may be donated then.

        What was begun before must have been waited for.
        """
        self._meetings.begin()
        try:
            self._make_room_for(tree)
            self._orbax.save(folder, args=stored_tree.save_arguments(tree, metadata))
        except Exception as error:  # Orbax and TensorStore raise many types
            # Behind the caller: others may not have come so far, and then learn of it when this one ends.
            self._give_up(error, at_once=False)
            raise
        self._is_written.clear()
        threading.Thread(target=self._watch, name="watch_save", daemon=True).start()
        if self._in_place:
            self.wait()

    def _make_room_for(self, tree: Any) -> None:
        """Orbax writes no array that is as large as what may be written at once."""
        largest = max((leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)), default=0)
        if largest >= self._most:
            self._orbax.close()
            self._most = largest + 1
            self._orbax = self._make()

    def _watch(self) -> None:
        """Wait for what is being written, and tell the others at once if that failed here."""
        try:
            self._orbax.wait_until_finished()
        except BaseException as error:  # of Orbax's thread, with whatever ended it; `wait` raises it
            self._error = error
            self._give_up(error)
            self._forget_other_errors()
        else:
            if self._when_there is not None:
                self._when_there()
        finally:
            self._is_written.set()

    def _give_up(self, error: BaseException, *, at_once: bool = True) -> None:
        if hosts.count() == 1 or isinstance(error, HostsError):  # told by another
            return
        tell = self._meetings.giving_up(first_line(error))
        if at_once:
            tell()
        else:
            threading.Thread(target=tell, name="give_up", daemon=True).start()

    def _forget_other_errors(self) -> None:
        """On a full disk several files fail, and Orbax raises one each time that it is waited for."""
        for _ in range(_MOST_ERRORS):
            try:
                self._orbax.wait_until_finished()
            except Exception:  # of what `wait` raises the first of
                continue
            return

    def wait(self) -> None:
        """Return when it is written, by all processes. Raises what Orbax met, HostsError if another did."""
        self._is_written.wait()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def read(self, folder: Path, like: Any) -> tuple[dict[str, Any], Any]:
        """(metadata, tree) as `save` wrote them. Raises as `stored_tree.read`.

        What was begun before must have been waited for.
        """
        return stored_tree.read(lambda args: self._orbax.restore(folder, args=args), like)

    def close(self) -> None:
        """End the threads. Waits for what is being written, and raises as `wait`."""
        try:
            self.wait()
        finally:
            self._orbax.close()


class _Meetings:
    """Where the processes of a run meet while one checkpoint is written."""

    def __init__(self) -> None:
        self._save, self._come = "", 0

    def begin(self) -> None:
        self._save, self._come = f"envisions_jax/save/{next(_saves)}", 0

    def barrier(self, *, key: str, timeout_ms: int) -> None:
        """Come to the next meeting. Raises HostsError if one that came has failed, or one is lost."""
        del key
        place = self._next()
        hosts.meet(place, timeout_ms)
        for number, why in hosts.told(place).items():
            raise HostsError(f"process {number} of the run: {why}")

    def giving_up(self, why: str) -> Callable[[], None]:
        """What tells the others that this process has failed, at the meeting where they wait for it."""
        place = self._next()

        def tell() -> None:
            try:
                hosts.tell(place, why)
                hosts.meet(place, _TIMEOUT_S * 1000)
            except HostsError:  # they will not wait: they are no longer there
                return

        return tell

    def _next(self) -> str:
        self._come += 1
        return f"{self._save}/{self._come}"
