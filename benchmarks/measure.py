"""Fair clocks: two sides take turns in one run, and a floor says how fast the machine could be.

Medians of at least three turns with their extremes; warm-up (compilation, first touch of memory) is
timed apart. Which side goes first alternates, so that a machine that slows down slows both.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Sequence

from envisions_jax.memory import return_free_memory


class BenchmarkError(RuntimeError):
    """The two sides did not do the same work, so that their times mean nothing."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What one turn did.

    Attributes:
      units: what is counted (tokens, programs).
      flops: floating-point operations that no implementation can do without; 0 where that means nothing.
      bytes: what must come from memory at the very least, where that can be the narrower way.
      note: how it went, for the reader of the report.
    """

    units: float
    flops: float = 0.0
    bytes: float = 0.0
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Side:
    """One contender.

    Attributes:
      run: does the work of a turn, whose number varies seeds and data.
      warm: does all that is done once.
      settle: what a turn begins with and is not timed, for work whose steps follow each other: the first one
        after the other side's turn fetches memory that the host has taken back meanwhile.
    """

    name: str
    run: Callable[[int], Work]
    warm: Callable[[], object]
    settle: Callable[[int], object] = lambda turn: None


@dataclasses.dataclass(frozen=True)
class Turn:
    """One timed run."""

    work: Work
    seconds: float

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.work.units / self.seconds


@dataclasses.dataclass(frozen=True)
class Summary:
    """A median with its extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        return cls(statistics.median(values), min(values), max(values))


@dataclasses.dataclass(frozen=True)
class Rates:
    """What this machine can do in this run: f32 operations and bytes a second; 0 where there is no floor."""

    flops: float = 0.0
    bytes: float = 0.0

    def floor(self, work: Work) -> float:
        """The least seconds that `work` can take here."""
        return max(
            work.flops / self.flops if self.flops else 0.0, work.bytes / self.bytes if self.bytes else 0.0
        )


@dataclasses.dataclass(frozen=True)
class Measured:
    """All turns of one side, in their order."""

    name: str
    first_call: float  # seconds of the warm-up: compilation included
    turns: tuple[Turn, ...]

    @property
    def rate(self) -> Summary:
        return Summary.of([turn.rate for turn in self.turns])

    @property
    def seconds(self) -> Summary:
        return Summary.of([turn.seconds for turn in self.turns])

    def floor_reached(self, rates: Rates) -> float:
        """Share of the floor: the least time its work can take, over the time taken; the median."""
        return statistics.median(rates.floor(turn.work) / turn.seconds for turn in self.turns)


@dataclasses.dataclass(frozen=True)
class Case:
    """One line of a table.

    Attributes:
      peer: None where a stage is measured against its floor alone.
      asked: the ratio that the project promises, None where it promises none.
      asked_rate: the same for our rate alone.
      asked_floor: the same for the share of the floor.
      rates: of this machine in this run.
    """

    name: str
    unit: str
    ours: Measured
    peer: Measured | None
    asked: float | None = None
    asked_rate: float | None = None
    asked_floor: float | None = None
    rates: Rates = Rates()

    @property
    def sides(self) -> list[Measured]:
        """Ours, then the peer if there is one."""
        return [self.ours] if self.peer is None else [self.ours, self.peer]

    @property
    def ratio(self) -> Summary | None:
        """Ours over the peer's: of the medians, and the extremes turn by turn."""
        if self.peer is None:
            return None
        pairs = zip(self.ours.turns, self.peer.turns, strict=True)
        by_turn = Summary.of([ours.rate / peer.rate for ours, peer in pairs])
        return dataclasses.replace(by_turn, median=self.ours.rate.median / self.peer.rate.median)

    @property
    def holds(self) -> bool | None:
        """Whether what was asked is reached; None if nothing was."""
        asked = [(self.ours.rate.median, self.asked_rate)]
        if self.ratio is not None:
            asked.append((self.ratio.median, self.asked))
        if self.asked_floor is not None:
            asked.append((self.ours.floor_reached(self.rates), self.asked_floor))
        verdicts = [value >= wanted for value, wanted in asked if wanted is not None]
        return all(verdicts) if verdicts else None


def interleave(ours: Side, peer: Side, repeats: int) -> tuple[Measured, Measured]:
    """Warms both up, then `repeats` turns each, the first to go alternating. Tells each turn on stderr."""
    mine, theirs = take_turns([ours, peer], repeats)
    return mine, theirs


def take_turns(sides: Sequence[Side], repeats: int) -> list[Measured]:
    """The same for any number of sides, also for one."""
    first: dict[str, float] = {}
    for side in sides:
        return_free_memory()  # of the case before; between turns it would make each fetch its memory anew
        first[side.name] = _seconds(side.warm)
        _tell(f"{side.name} warmed up in {first[side.name]:.1f} s")
    turns: dict[str, list[Turn]] = {side.name: [] for side in sides}
    for number in range(repeats):
        for side in sides if number % 2 == 0 else reversed(sides):
            side.settle(number)
            start = time.perf_counter()
            work = side.run(number)
            turns[side.name].append(Turn(work, time.perf_counter() - start))
            _tell(f"turn {number + 1}/{repeats}: {side.name} {turns[side.name][-1].seconds:.1f} s")
    return [Measured(side.name, first[side.name], tuple(turns[side.name])) for side in sides]


def _tell(line: str) -> None:
    """On stderr, so that the tables on stdout stay alone."""
    print(f"  {line}", file=sys.stderr, flush=True)


def gemm_rate(size: int = 2048, trials: int = 5) -> float:
    """f32 operations a second of the faster library's best product of two square matrices.

    The best and not the median: a floor is what the machine *can* do.
    """
    import jax
    import jax.numpy as jnp
    import torch

    ours = jnp.full((size, size), 0.5)
    theirs = torch.full((size, size), 0.5)
    multiply = jax.jit(jnp.matmul)
    multiply(ours, ours).block_until_ready()
    torch.mm(theirs, theirs)
    times = [_seconds(lambda: multiply(ours, ours).block_until_ready()) for _ in range(trials)]
    times += [_seconds(lambda: torch.mm(theirs, theirs)) for _ in range(trials)]
    return 2 * size**3 / min(times)


def read_rate(gib: float = 1.0, trials: int = 5) -> float:
    """Bytes a second that both cores together read from memory, at best."""
    import torch

    array = torch.full((int(gib * 2**30 / 4),), 0.5)
    array.sum()
    return array.numel() * 4 / min(_seconds(array.sum) for _ in range(trials))


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
