"""How a run's cost grows with its tasks and its iterations: whole runs of the quickstart, a process each.

    python -m benchmarks.growth            # 64 to 512 tasks in two iterations; 1 to 10 iterations of 32 tasks
    python -m benchmarks.growth --quick    # the tiny variant: that everything runs, not what it costs

Times are a run's own by stage, without compilation; programs and peak memory are what it says at its end.
"""

from __future__ import annotations

import argparse
import json
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
STAGES = ("generate", "execute", "score", "train")
_LAST_LINE = re.compile(r"(\d+) programs compiled, peak memory ([\d.]+) GiB")


class Grown(NamedTuple):
    """One run."""

    tasks: int
    iterations: list[dict[str, float]]  # seconds of each, by stage
    programs: int
    peak_gib: float

    def per_task(self, stage: str, iterations: Sequence[dict[str, float]] | None = None) -> float:
        """Seconds a task and iteration."""
        chosen = self.iterations if iterations is None else iterations
        return sum(seconds.get(stage, 0.0) for seconds in chosen) / len(chosen) / self.tasks


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
            _show(console, f"{name} grow, seconds a task and iteration", runs[name])


def _show(console: Console, title: str, runs: Sequence[Grown]) -> None:
    table = Table(title=title)
    for heading in ("tasks", "iterations", *STAGES, "all", "beside the first", "programs", "peak GiB"):
        table.add_column(heading, justify="right")
    first = sum(map(runs[0].per_task, STAGES))
    for run in runs:
        stages = [run.per_task(stage) for stage in STAGES]
        numbers = (f"{seconds:.2f}" for seconds in (*stages, sum(stages)))
        beside = f"{sum(stages) / first:.2f} x"
        row = (
            str(run.tasks),
            str(len(run.iterations)),
            *numbers,
            beside,
            str(run.programs),
            f"{run.peak_gib:.1f}",
        )
        table.add_row(*row)
    console.print(table)
    longest = runs[-1]
    if len(longest.iterations) > 2:
        each = (sum(longest.per_task(stage, [one]) for stage in STAGES) for one in longest.iterations)
        console.print("each iteration: " + ", ".join(f"{seconds:.2f}" for seconds in each), highlight=False)


def _run(config: str, workdir: Path, tasks: int, iterations: int) -> Grown:
    """Starts the command line, tells its lines on stderr, and reads what it left."""
    command = [sys.executable, "-m", "envisions_jax.main", f"--config={config}", f"--workdir={workdir}"]
    command += [f"--config.tasks.train_size={tasks}", f"--config.loop.iterations={iterations}"]
    command += ["--config.tasks.test_size=32", "--config.eval.base=False", "--config.checkpoint.export=False"]
    found: re.Match[str] | None = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"  {line.rstrip()}", file=sys.stderr, flush=True)
            found = _LAST_LINE.match(line) or found
    if process.returncode or found is None:
        sys.exit(f"error: a run of {tasks} tasks ended with {process.returncode}: {' '.join(command)}")
    records: list[dict[str, Any]] = read_metrics(workdir / "metrics.jsonl")
    seconds = [record["time"] for record in records if record["kind"] == "iteration"]
    return Grown(tasks, seconds, int(found[1]), float(found[2]))


if __name__ == "__main__":
    main()
