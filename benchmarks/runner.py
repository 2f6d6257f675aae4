"""The command line: which workloads, how often, and where the numbers go."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from benchmarks import report
from benchmarks.measure import BenchmarkError, Case, Rates, gemm_rate, read_rate
from envisions_jax.memory import restart_with_huge_pages

if TYPE_CHECKING:
    from benchmarks.models import Contenders

WITH_CASES = ("sampling", "stages", "scoring", "training")  # whose cases can be measured each alone
WORKLOADS = ("sampling", "stages", "scoring", "training", "iteration", "sandbox", "logic")
BUSY = 10.0  # percent of the cores in use before we begin: another program surely takes part


@dataclasses.dataclass(frozen=True)
class Options:
    """How thoroughly to measure."""

    repeats: int = 3
    quick: bool = False  # toy sizes, to see that everything runs
    case: str = ""  # only cases with this in their names


class Bench:
    """What the workloads share; the models are loaded when the first of them asks."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.offered: list[str] = []  # the names of all cases that were asked about

    @functools.cached_property
    def contenders(self) -> Contenders:
        from benchmarks import models

        return models.load()

    def wants(self, name: str) -> bool:
        """Whether the case `name` is to be measured."""
        self.offered.append(name)
        return self.options.case in name

    def rates(self) -> Rates:
        """What the machine can do now; measured anew for each case."""
        quick = self.options.quick
        return Rates(gemm_rate(size=512 if quick else 2048), read_rate(0.1 if quick else 1.0))


def main(names: Sequence[str]) -> None:
    """Runs the workloads `names`, a table after each; what cannot be measured ends it in one line."""
    restart_with_huge_pages()
    options, json_path = _parse(names)
    try:
        _measure(names, options, json_path)
    except BenchmarkError as error:
        sys.exit(f"error: {error}")


def _measure(names: Sequence[str], options: Options, json_path: str) -> None:
    console = Console(width=None if Console().is_terminal else 150)
    about = report.machine()
    console.print(", ".join(f"{key} {value}" for key, value in about.items()), highlight=False)
    if about["busy_before_percent"] > BUSY:
        console.print(
            f"[yellow]the machine is busy ({about['busy_before_percent']:g} % of its cores before we begin): "
            "do not quote these numbers"
        )
    if options.quick:
        console.print("[yellow]--quick: toy sizes, to see that everything runs; do not quote these numbers")
    bench, results = Bench(options), dict[str, Sequence[Case]]()
    for name in names:
        workload = importlib.import_module(f"benchmarks.{name}")
        results[name] = workload.measure(bench)
        if options.case and not results[name]:
            raise BenchmarkError(f"--case={options.case}: none of {'; '.join(bench.offered)}")
        report.show(console, workload.TITLE, results[name])
        if json_path:  # after each, so that an interrupted run keeps what it has
            report.write_json(json_path, about, results)


def _parse(names: Sequence[str]) -> tuple[Options, str]:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks" + (f".{names[0]}" if len(names) == 1 else ""),
        description=f"Measure {', '.join(names)} against the peer; docs/benchmarks.md says what that is.",
    )
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side (default: 3)")
    parser.add_argument("--quick", action="store_true", help="toy sizes, one turn: a smoke test")
    parser.add_argument("--json", default="", metavar="FILE", help="also write everything measured")
    if names[0] in WITH_CASES and len(names) == 1:
        parser.add_argument("--case", default="", metavar="TEXT", help="only cases whose names contain it")
    parser.set_defaults(case="")
    values = parser.parse_args()
    if values.repeats < 1:
        parser.error(f"--repeats={values.repeats}: measure at least once")
    if values.json:
        try:  # before hours of work, not after them
            open(values.json, "a", encoding="utf-8").close()
        except OSError as error:
            parser.error(f"--json={values.json}: cannot be written ({error.strerror})")
    return Options(1 if values.quick else values.repeats, values.quick, values.case), values.json
