"""A deadline for calls that have none of their own: when it passes, Chromium is killed and the call returns.

Playwright's `evaluate` waits for an endless script for ever. A thread of this process holds the clock; the
call it interrupts raises as for any browser that died, and `fired` tells why.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BROWSER_MARK = b"--remote-debugging-pipe"  # on the command line of the Chromium that Playwright started


class Watchdog:
    """Kills the browsers of this process when a guarded block takes longer than it may."""

    def __init__(self) -> None:
        self.fired = False
        self._deadline: float | None = None
        self._wakes_at = math.inf  # the thread sleeps on through blocks that end before
        self._changed = threading.Condition()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def guarding(self, seconds: float) -> Iterator[None]:
        """Within the block, `seconds` from now on."""
        self._set(time.monotonic() + seconds)
        try:
            yield
        finally:
            self._set(None)

    def _set(self, deadline: float | None) -> None:
        with self._changed:
            self._deadline = deadline
            if deadline is not None:
                self.fired = False
                if deadline < self._wakes_at:
                    self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while True:
                deadline, now = self._deadline or math.inf, time.monotonic()
                if deadline <= now:
                    self.fired, self._deadline = True, None
                    kill_browsers()
                    continue
                self._wakes_at = deadline
                self._changed.wait(None if deadline == math.inf else deadline - now)


def kill_browsers() -> None:
    """SIGKILL for every Chromium below this process, its renderers included."""
    children = _children()
    below, todo = [], [os.getpid()]
    while todo:
        todo += (found := children.get(todo.pop(), []))
        below += found
    browsers = [process for process in below if _BROWSER_MARK in _command(process)]
    while browsers:
        process = browsers.pop()
        browsers += children.get(process, [])
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it ended by itself


def _children() -> dict[int, list[int]]:
    """Process ids by that of their parent."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    return children


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""
