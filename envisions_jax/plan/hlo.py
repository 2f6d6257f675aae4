"""What devices tell each other in a compiled program, read from its HLO text.

An instruction in a loop counts as often as the loop goes round: XLA notes that for GPUs, and the condition of
a counted loop has it for TPUs. A loop that ends when the data say so counts once. TPUs' compiler writes a
reduce-scatter as an all-reduce within a computation whose name says so.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4}
_KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(_KINDS)})(-start)?\(")
_SHAPE = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\]")
_CALLED = re.compile(r"(?:calls|body|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CONDITION = re.compile(r"condition=%?([\w.\-]+)")
_BOUND = re.compile(r"s32\[\][^ ]* constant\((\d+)\)")


@dataclasses.dataclass(frozen=True)
class Collective:
    """All instructions of one kind in one run of a program."""

    kind: str
    count: int
    bytes: int  # whole: of what is gathered, reduced, or exchanged

    def sent(self, devices: int) -> float:
        """Bytes that each device sends, at the least."""
        share = (devices - 1) / devices
        return self.bytes * {"all-reduce": 2 * share, "collective-permute": 1.0}.get(self.kind, share)


def collectives(text: str) -> list[Collective]:
    """Of a compiled program, by kind.

    >>> collectives('''ENTRY %main (p: f32[2]) -> f32[16] {
    ...   ROOT %g = f32[16]{0} all-gather(%p), replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}
    ... }''')
    [Collective(kind='all-gather', count=1, bytes=64)]
    """
    computations, entry = _computations(text)
    counts: collections.Counter[str] = collections.Counter()
    sizes: collections.Counter[str] = collections.Counter()
    for name, times in _visits(computations, entry):
        for line in computations[name]:
            if found := _COLLECTIVE.search(line):
                kind = found[2]
                if kind == "all-reduce" and "all-reduce-scatter" in name:
                    kind = "reduce-scatter"
                counts[kind] += times
                sizes[kind] += times * _whole_size(found[1], found[2], bool(found[3]), line)
    return [Collective(kind, counts[kind], sizes[kind]) for kind in _KINDS if counts[kind]]


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """The lines of each computation, and the name of the one that is called first."""
    computations: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            lines = computations.setdefault(found[2], [])
            entry = found[2] if found[1] else entry
        else:
            lines.append(line)
    return computations, entry


def _visits(computations: Mapping[str, list[str]], entry: str) -> Iterator[tuple[str, int]]:
    """Computations with how often they are run, each as often as it is called from somewhere."""
    waiting = [(entry, 1)]
    while waiting:
        name, times = waiting.pop()
        yield name, times
        for line in computations[name]:
            called = _CALLED.findall(line)
            if found := _BRANCHES.search(line):
                called += re.findall(r"[\w.\-]+", found[1])
            inner = times * _trips(line, computations) if " while(" in line else times
            waiting += [(one, inner) for one in called if one in computations]


def _trips(line: str, computations: Mapping[str, list[str]]) -> int:
    """How often a loop goes round; 1 where that is not known."""
    if found := _TRIPS.search(line):
        return int(found[1])
    condition = _CONDITION.search(line)
    lines = computations.get(condition[1], []) if condition else []
    bounds = [int(bound) for one in lines for bound in _BOUND.findall(one)]
    is_counted = any("direction=LT" in one for one in lines)
    return bounds[0] if is_counted and len(bounds) == 1 else 1


def _whole_size(shapes: str, kind: str, is_start: bool, line: str) -> int:
    found = [
        _BYTES.get(dtype, 8) * math.prod(int(size) for size in sizes.split(",") if size)
        for dtype, sizes in _SHAPE.findall(re.sub(r"\{[^}]*\}", "", shapes))
        if not (is_start and dtype == "u32" and not sizes)  # what is awaited, no data
    ]
    if is_start and kind != "all-reduce":  # what went in, then what comes out
        found = found[len(found) // 2 :]
    return sum(found) * (_group_size(line) if kind == "reduce-scatter" else 1)


def _group_size(line: str) -> int:
    if found := re.search(r"replica_groups=\{\{([\d,]*)\}", line):
        return len(found[1].split(","))
    found = re.search(r"replica_groups=\[\d+,(\d+)\]", line)
    return int(found[1]) if found else 1
