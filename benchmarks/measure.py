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
      note: how it went, for the reader of the report.
    """

    units: float
    flops: float = 0.0
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

    def floor_reached(self, flops_rate: float) -> float:
        """Share of the floor: the least time its operations can take, over the time taken; the median."""
        return statistics.median(turn.work.flops / flops_rate / turn.seconds for turn in self.turns)


@dataclasses.dataclass(frozen=True)
class Case:
    """One line of a table.

    Attributes:
      asked: the ratio that the project promises, None where it promises none.
      asked_rate: the same for our rate alone.
      flops_rate: f32 matrix product rate of this machine in this run; 0 where there is no floor.
    """

    name: str
    unit: str
    ours: Measured
    peer: Measured
    asked: float | None = None
    asked_rate: float | None = None
    flops_rate: float = 0.0

    @property
    def ratio(self) -> float:
        """Ours over the peer's, of the medians."""
        return self.ours.rate.median / self.peer.rate.median

    @property
    def ratios(self) -> Summary:
        """Turn by turn."""
        pairs = zip(self.ours.turns, self.peer.turns, strict=True)
        return Summary.of([ours.rate / peer.rate for ours, peer in pairs])

    @property
    def holds(self) -> bool | None:
        """Whether what was asked is reached; None if nothing was."""
        asked = [(self.ratio, self.asked), (self.ours.rate.median, self.asked_rate)]
        verdicts = [value >= wanted for value, wanted in asked if wanted is not None]
        return all(verdicts) if verdicts else None


def interleave(ours: Side, peer: Side, repeats: int) -> tuple[Measured, Measured]:
    """Warms both up, then `repeats` turns each, the first to go alternating. Tells each turn on stderr."""
    first: dict[str, float] = {}
    for side in (ours, peer):
        return_free_memory()  # of the case before; between turns it would make each fetch its memory anew
        first[side.name] = _seconds(side.warm)
        _tell(f"{side.name} warmed up in {first[side.name]:.1f} s")
    turns: dict[str, list[Turn]] = {ours.name: [], peer.name: []}
    for number in range(repeats):
        order = (ours, peer) if number % 2 == 0 else (peer, ours)
        for side in order:
            side.settle(number)
            start = time.perf_counter()
            work = side.run(number)
            turns[side.name].append(Turn(work, time.perf_counter() - start))
            _tell(f"turn {number + 1}/{repeats}: {side.name} {turns[side.name][-1].seconds:.1f} s")
    mine, theirs = (Measured(side.name, first[side.name], tuple(turns[side.name])) for side in (ours, peer))
    return mine, theirs


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


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
