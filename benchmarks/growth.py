"""How a run's cost grows with its tasks and its iterations: whole runs of the quickstart, a process each.

    python -m benchmarks.growth            # 64 to 512 tasks in two iterations; 1 to 10 iterations of 32 tasks
    python -m benchmarks.growth --quick    # the tiny variant: that everything runs, not what it costs

Times are a run's own by stage, without compilation; programs are what it says at its end, memory is the
kernel's account of its process. Training costs by examples, of which a better policy has more: it is told for
each of them too. The first iteration refines and scores nothing: the others are told beside the second.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from envisions_jax.metrics import read_metrics

# Not evaluation: it is of as many test tasks whatever is trained on.
SAMPLED = ("generate", "execute", "score")
STAGES = (*SAMPLED, "train")
_LAST_LINE = re.compile(r"(\d+) programs compiled")
_ITERATION_DONE = re.compile(r"iteration \d+/\d+: ")


class Grown(NamedTuple):
    """One run."""

    tasks: int
    iterations: list[dict[str, float]]  # seconds of each, by stage
    examples: list[int]  # that each trained on
    peaks_gib: list[float]  # the most memory that there had been at the end of each
    programs: int

    def per_task(self, *stages: str, of: slice = slice(None)) -> float:
        """Seconds a task and iteration that these stages take together."""
        chosen = self.iterations[of]
        # The first iteration scores nothing.
        seconds = sum(iteration.get(stage, 0.0) for iteration in chosen for stage in stages)
        return seconds / len(chosen) / self.tasks

    def per_example(self, of: slice = slice(None)) -> float:
        """Seconds of training for each example."""
        return sum(iteration["train"] for iteration in self.iterations[of]) / sum(self.examples[of])


def main() -> None:
    """Both tables, and what was measured as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="toy sizes: a smoke test")
    parser.add_argument("--json", default="", metavar="FILE", help="also write everything measured")
    values = parser.parse_args()
    sizes, iterations, few = ((6, 12), (1, 2), 6) if values.quick else ((64, 128, 256, 512), (1, 10), 32)
    config = "configs/quickstart.py" + (":tiny" if values.quick else "")
    console = Console(width=None if Console().is_terminal else 120)
    runs: dict[str, list[Grown]] = {"tasks": [], "iterations": []}
    with tempfile.TemporaryDirectory(prefix="envisions-growth-") as folder:
        for name, wanted in (
            ("tasks", [(size, 2) for size in sizes]),
            ("iterations", [(few, count) for count in iterations]),
        ):
            for tasks, count in wanted:
                runs[name].append(_run(config, Path(folder) / f"{name}-{tasks}-{count}", tasks, count))
                if values.json:
                    told = {kind: [run._asdict() for run in done] for kind, done in runs.items()}
                    Path(values.json).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
            _show(console, f"{name} grow: seconds a task and iteration", runs[name])
    _show_each(console, runs["iterations"][-1])


def _show(console: Console, title: str, runs: Sequence[Grown]) -> None:
    table = Table(title=title)
    headings = (
        "tasks",
        "iterations",
        *STAGES,
        "all",
        "beside",
        "train an example",
        "beside",
        "programs",
        "GiB",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    first = runs[0]
    for run in runs:
        table.add_row(
            str(run.tasks),
            str(len(run.iterations)),
            *(f"{run.per_task(stage):.3f}" for stage in STAGES),
            f"{run.per_task(*STAGES):.3f}",
            f"{run.per_task(*STAGES) / first.per_task(*STAGES):.2f} x",
            f"{run.per_example():.3f}",
            f"{run.per_example() / first.per_example():.2f} x",
            str(run.programs),
            f"{run.peaks_gib[-1]:.1f}",
        )
    console.print(table)


def _show_each(console: Console, run: Grown) -> None:
    table = Table(title=f"each iteration of {run.tasks} tasks, beside the second")
    for heading in (
        "iteration",
        *SAMPLED,
        "together",
        "beside",
        "examples",
        "train an example",
        "beside",
        "GiB",
    ):
        table.add_column(heading, justify="right")
    second = slice(1, 2)
    for number, peak in enumerate(run.peaks_gib):
        this = slice(number, number + 1)
        table.add_row(
            str(number + 1),
            *(f"{run.per_task(stage, of=this):.3f}" for stage in SAMPLED),
            f"{run.per_task(*SAMPLED, of=this):.3f}",
            f"{run.per_task(*SAMPLED, of=this) / run.per_task(*SAMPLED, of=second):.2f} x",
            str(run.examples[number]),
            f"{run.per_example(this):.3f}",
            f"{run.per_example(this) / run.per_example(second):.2f} x",
            f"{peak:.1f}",
        )
    console.print(table)


def _run(config: str, workdir: Path, tasks: int, iterations: int) -> Grown:
    """Starts the command line, tells its lines on stderr, and reads what it left."""
    command = [sys.executable, "-m", "envisions_jax.main", f"--config={config}", f"--workdir={workdir}"]
    command += [f"--config.tasks.train_size={tasks}", f"--config.loop.iterations={iterations}"]
    command += ["--config.tasks.test_size=32", "--config.eval.base=False", "--config.checkpoint.export=False"]
    found: re.Match[str] | None = None
    peaks: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"  {line.rstrip()}", file=sys.stderr, flush=True)
            found = _LAST_LINE.match(line) or found
            if _ITERATION_DONE.match(line):
                peaks.append(_peak_gib(process.pid))
    if process.returncode or found is None:
        sys.exit(f"error: a run of {tasks} tasks ended with {process.returncode}: {' '.join(command)}")
    records: list[dict[str, Any]] = read_metrics(workdir / "metrics.jsonl")
    done = [record for record in records if record["kind"] == "iteration"]
    examples = [sum(record[of] for of in ("l1_examples", "l2_examples", "demonstrations")) for record in done]
    return Grown(tasks, [record["time"] for record in done], examples, peaks, int(found[1]))


def _peak_gib(process: int) -> float:
    """The most memory that it has had."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    kib = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(kib[1]) / 2**20 if kib else math.nan  # it has ended


if __name__ == "__main__":
    main()
