"""What compiled programs take on each device, beside what devices have: tables, and the same as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from envisions_jax.budget import ADVICE
from envisions_jax.command_line import GPU_SHARE
from envisions_jax.plan.hlo import Collective
from envisions_jax.plan.programs import Program
from envisions_jax.plan.targets import Chip

GIB = 2**30
USABLE = GPU_SHARE  # of the memory


@dataclasses.dataclass(frozen=True)
class Compiled:
    """One program, compiled."""

    program: Program
    seconds: float
    arguments: int  # bytes on each device, as are the next three
    outputs: int
    aliased: int  # of the outputs, in arguments' place
    temporaries: int
    collectives: Sequence[Collective]
    kernels: tuple[str, ...]  # for attention, that are not XLA's own

    @property
    def peak(self) -> int:
        """With what the device holds besides."""
        return self.program.beside + self.arguments + self.outputs - self.aliased + self.temporaries

    def floors(self, chip: Chip, devices: int) -> dict[str, float]:
        """Seconds that its work takes at least: for arithmetic, for memory, for what devices send."""
        sent = sum(one.sent(devices) for one in self.collectives)
        work = self.program.work
        return {
            "arithmetic": work.flops / chip.flops,
            "memory": work.bytes / chip.bandwidth,
            "links": sent / chip.links,
        }

    def best(self, chip: Chip, devices: int) -> float:
        """Tokens a second, of all devices together, that nothing can exceed; 0 if there are none."""
        seconds = max(self.floors(chip, devices).values())
        return self.program.work.tokens / seconds if seconds else 0.0

    def to_dict(self, chip: Chip, devices: int) -> dict[str, Any]:
        """Plain data."""
        return {
            "program": self.program.name,
            "stage": self.program.stage,
            "compile_s": round(self.seconds, 1),
            "arguments": self.arguments,
            "outputs": self.outputs,
            "aliased": self.aliased,
            "temporaries": self.temporaries,
            "beside": self.program.beside,
            "peak": self.peak,
            "collectives": [dataclasses.asdict(one) for one in self.collectives],
            "kernels": list(self.kernels),
            "per": self.program.per,
            "flops": self.program.work.flops,
            "floors_s": self.floors(chip, devices),
            "best_tokens_per_s": self.best(chip, devices),
        }


def memory_table(compiled: Sequence[Compiled], title: str, memory: int) -> Table:
    """GiB on each device."""
    table = Table(title=title, title_justify="left")
    table.add_column("program")
    for name in ("compiled in", "held beside", "arguments", "results", "temporaries", "peak", "left"):
        table.add_column(name, justify="right")
    for one in compiled:
        left = USABLE * memory - one.peak
        table.add_row(
            one.program.name,
            f"{one.seconds:.0f} s",
            *(
                f"{size / GIB:.1f}"
                for size in (one.program.beside, one.arguments, one.outputs - one.aliased, one.temporaries)
            ),
            f"{one.peak / GIB:.1f}",
            f"{left / GIB:.1f}" if left >= 0 else f"does not fit by {-left / GIB:.1f}",
        )
    return table


def speed_table(compiled: Sequence[Compiled], title: str, chip: Chip, devices: int) -> Table:
    """Collectives, and the least time that the work takes."""
    table = Table(title=title, title_justify="left")
    table.add_column("program")
    table.add_column("collectives: how many, GB")
    for name in ("TFLOP", "arithmetic", "memory", "links", "tokens/s at best"):
        table.add_column(name, justify="right")
    for one in compiled:
        told = [f"{c.kind} {c.count}, {c.bytes / 1e9:.2f}" for c in one.collectives]
        best = one.best(chip, devices)
        table.add_row(
            f"{one.program.name}{' (a step)' if one.program.per == 'step' else ''}",
            "\n".join(told) or "none",
            f"{one.program.work.flops / 1e12:.1f}",
            *(f"{1e3 * seconds:.1f} ms" for seconds in one.floors(chip, devices).values()),
            f"{best:,.0f}" if best else "",
        )
    return table


def verdict(compiled: Sequence[Compiled], memory: int) -> str:
    """Does all of it fit, and by how much?"""
    largest = max(compiled, key=lambda one: one.peak)
    left = USABLE * memory - largest.peak
    most = (
        f"{largest.peak / GIB:.1f} GiB of each device ({largest.program.stage}: {largest.program.name}), "
        f"which has {memory / GIB:.1f}, {USABLE:.0%} of them usable"
    )
    if left >= 0:
        return f"it fits: at most {most}; {left / GIB:.1f} GiB are left"
    return f"it does NOT fit, by {-left / GIB:.1f} GiB: {most}; give more devices, {ADVICE}"


def least_step(compiled: Sequence[Compiled], batch_size: int, lanes: int, chip: Chip, devices: int) -> float:
    """Seconds that an optimiser step takes at the least, with one example in each row."""

    def first(name: str) -> Compiled:
        return next(one for one in compiled if one.program.name.startswith(name))

    def seconds(one: Compiled) -> float:
        return max(one.floors(chip, devices).values())

    microbatch = first("microbatch")
    microbatches = math.ceil(batch_size / (lanes * microbatch.program.units))
    return microbatches * seconds(microbatch) + seconds(first("update"))


def most_slots(compiled: Sequence[Compiled], memory: int) -> int | None:
    """Slots of a lane that would fit, in every stage; None where nothing is decoded."""
    found = [
        _most(one, one.arguments + one.temporaries - one.program.fixed, memory)
        for one in compiled
        if one.program.per == "step" and one.program.units
    ]
    if not found:
        return None
    return min(found) // 8 * 8 or min(found)


def most_rows(once: Compiled, more: Compiled, memory: int) -> int:
    """Rows of a lane's microbatch that would fit, from programs of some and of more that take more memory."""
    a_row = (more.peak - once.peak) / (more.program.units - once.program.units)
    further = (USABLE * memory - once.peak) / max(a_row, 1)
    return max(0, once.program.units + math.floor(further))


def _most(one: Compiled, grows: int, memory: int) -> int:
    a_unit = grows / one.program.units
    return max(0, one.program.units + math.floor((USABLE * memory - one.peak) / a_unit))
