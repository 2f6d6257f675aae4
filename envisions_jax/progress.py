"""What a run tells while it works: progress bars with time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[[int], None]

_LINE_EVERY_S = 15.0  # at most so often, where lines cannot be rewritten


class Reporter:
    """Lines, tables and the progress of stages, all on standard output.

    Args:
      bars: draw bars if the output is a terminal; with False stages are silent, lines and tables still come.
      quiet: say nothing at all.
    """

    def __init__(self, bars: bool = True, console: Console | None = None, *, quiet: bool = False) -> None:
        width = None if sys.stdout.isatty() else 160
        self._console = console or Console(highlight=False, width=width, quiet=quiet)
        self._show = bars and not quiet
        self._has_candidates = False

    def line(self, text: str) -> None:
        """Say `text`."""
        self._console.print(text, markup=False, soft_wrap=True)

    def show(self, table: RenderableType) -> None:
        """Print a table."""
        self._console.print(table)

    @contextmanager
    def stage(self, name: str, total: int, done: int = 0, *, samples: bool = False) -> Iterator[Advance]:
        """A stage of `total` steps, `done` of them before this start; call what is yielded to advance.

        Where steps are candidates (`samples`) it is told when the first one of this process was there.
        """
        if not self._show:
            yield lambda _: None
        elif self._console.is_terminal:
            with self._bar(name, total, done) as advance:
                yield self._telling_the_first(name, advance, samples)
        else:
            yield self._telling_the_first(name, _Lines(self, name, total, done).advance, samples)

    def _telling_the_first(self, name: str, advance: Advance, samples: bool) -> Advance:
        def told(steps: int) -> None:
            if samples and steps and not self._has_candidates:
                self._has_candidates = True
                self.line(f"  {name}: the first candidate, {duration(process_age())} after the start")
            advance(steps)

        return told

    @contextmanager
    def _bar(self, name: str, total: int, done: int) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(name, total=total, completed=done)
            yield lambda steps: progress.advance(task, steps)


class _Lines:
    """Progress as lines: now and then one, and one at the end."""

    def __init__(self, reporter: Reporter, name: str, total: int, done: int) -> None:
        self._reporter, self._name, self._total = reporter, name, total
        self._done = done
        self._begin = self._last = time.monotonic()
        self._first: tuple[float, int] | None = None  # when the first steps were done, and how many

    def advance(self, steps: int) -> None:
        """`steps` more are done; of none there is nothing to say."""
        if not steps:
            return
        self._done += steps
        now = time.monotonic()
        if self._first is None:  # from here on, or what was compiled before would count for each step
            self._first = now, self._done
        if self._done < self._total and now - self._last < _LINE_EVERY_S:
            return
        self._last = now
        text = f"  {self._name}: {self._done}/{self._total}, {duration(now - self._begin)}"
        since, before = self._first
        if before < self._done < self._total:
            left = (now - since) / (self._done - before) * (self._total - self._done)
            text += f", {duration(left)} left"
        self._reporter.line(text)


def process_age() -> float:
    """Seconds since this process was started, with the interpreter and all imports."""
    return max(0.0, time.time() - psutil.Process().create_time())


def duration(seconds: float) -> str:
    """Seconds for a reader.

    >>> duration(9.3), duration(75), duration(7260)
    ('9 s', '1:15', '2:01:00')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"
