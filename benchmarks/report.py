"""What a reader gets: one table a workload, and everything that was measured as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Case, Measured, Rates, Summary

PACKAGES = ("envisions-jax", "jax", "flax", "torch", "transformers")


def machine() -> dict[str, Any]:
    """What the numbers were measured on and with; takes two seconds to see what else runs here."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "busy_before_percent": psutil.cpu_percent(interval=2),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
    }


def show(console: Console, title: str, cases: Sequence[Case]) -> None:
    """Prints the table of one workload and, below it, how the turns went."""
    table = Table(title=title, title_justify="left", show_lines=True)
    table.add_column("case")
    for heading in ("ours", "peer", "ratio", "asked", "seconds", "floor", "of the floor", "first call"):
        table.add_column(heading, justify="right")
    for case in cases:
        table.add_row(*_cells(case))
    console.print(table)
    for case in cases:
        for side in case.sides:
            notes = list(dict.fromkeys(turn.work.note for turn in side.turns if turn.work.note))
            if notes:
                console.print(f"  {case.name}, {side.name}: {'; '.join(notes)}", highlight=False)
        if case.rates.flops:
            flops, read = case.rates.flops / 1e9, case.rates.bytes / 1e9
            told = f"products at {flops:.0f} GFLOP/s, reads at {read:.0f} GB/s"
            console.print(f"  {case.name}, floor: {told}", highlight=False)
    console.print()


def write_json(path: str | Path, about: dict[str, Any], workloads: dict[str, Sequence[Case]]) -> None:
    """Writes every turn, not only medians."""
    content = {
        "machine": about,
        "workloads": {name: [_record(case) for case in cases] for name, cases in workloads.items()},
    }
    Path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _cells(case: Case) -> list[str]:
    asked = [f"≥ {case.asked:g} ×"] if case.asked is not None else []
    asked += [f"≥ {case.asked_rate:g}/s"] if case.asked_rate is not None else []
    asked += [f"≥ {case.asked_floor:.0%} of the floor"] if case.asked_floor is not None else []
    verdict = {True: "[green]reached[/]", False: "[red]missed[/]", None: "—"}[case.holds]
    floor, reached = "—", "—"
    if case.rates.flops:
        floors = [case.rates.floor(side.turns[0].work) for side in case.sides]
        floor = "\n".join(f"{least:.2f} s" if least else "—" for least in floors)
        shares = [side.floor_reached(case.rates) for side in case.sides]
        reached = "\n".join(f"{share:.0%}" if share else "—" for share in shares)
    return [
        f"{case.name}\n[dim]{case.unit}/s[/]",
        _spread(case.ours.rate),
        _spread(case.peer.rate if case.peer else None),
        _spread(case.ratio, " ×"),
        "\n".join([*asked, verdict]),
        "\n".join(f"{side.seconds.median:.2f}" for side in case.sides),
        floor,
        reached,
        "\n".join(f"{side.first_call:.1f} s" for side in case.sides),
    ]


def _spread(summary: Summary | None, unit: str = "") -> str:
    if summary is None:
        return "—"
    digits = 0 if summary.median >= 100 else 1 if summary.median >= 10 else 2
    low, high = f"{summary.low:.{digits}f}", f"{summary.high:.{digits}f}"
    return f"[bold]{summary.median:.{digits}f}{unit}[/]\n[dim]{low}–{high}[/]"


def _record(case: Case) -> dict[str, Any]:
    return {
        "name": case.name,
        "unit": case.unit,
        "ratio": case.ratio and dataclasses.asdict(case.ratio),
        "asked": case.asked,
        "asked_rate": case.asked_rate,
        "asked_floor": case.asked_floor,
        "holds": case.holds,
        "gemm_gflops": case.rates.flops / 1e9,
        "read_gbytes": case.rates.bytes / 1e9,
        "ours": _side(case.ours, case.rates),
        "peer": case.peer and _side(case.peer, case.rates),
    }


def _side(side: Measured, rates: Rates) -> dict[str, Any]:
    return {
        "rate": dataclasses.asdict(side.rate),
        "seconds": dataclasses.asdict(side.seconds),
        "floor_reached": side.floor_reached(rates) if rates.flops else None,
        "first_call_seconds": side.first_call,
        "turns": [{"seconds": turn.seconds, **dataclasses.asdict(turn.work)} for turn in side.turns],
    }
