"""The `:tiny` variants of mathematics and logic go through the whole loop, on the real default model."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from envisions_jax.metrics import read_metrics
from envisions_jax.store import TrajectoryStore

ROOT = Path(__file__).parents[1]
# What comes before the iterations: the kind of its record, and what is told of it.
BEFORE = {
    "quickstart": ("base", ("base, few-shot",)),
    "logic": ("cold_start", ("cold start on 24 demonstrations", "Unknown")),
}
# Whatever the number of tasks and iterations. Beam search is two programs, and long demonstrations are a
# prefix with room of its own, and with it prefill.
MOST_PROGRAMS = {"math": 13}
MOST_PROGRAMS_OF_OTHERS = 12


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["quickstart", "math", "asdiv", "logic"])
def test_tiny_variant(name: str, tmp_path: Path, shared_data: Path) -> None:
    command = [sys.executable, "-m", "envisions_jax.main", f"--config=configs/{name}.py:tiny"]
    iterations = 2
    if name != "quickstart":  # the base model's answers are the same stage, and compile the most
        command.append("--config.eval.base=False")
    if name == "asdiv":  # the quickstart's recipe on real problems: one iteration tells what is different
        iterations = 1
        command += [
            f"--config.tasks.path={shared_data / 'asdiv_1000.jsonl.gz'}",
            f"--config.loop.iterations={iterations}",
        ]
    workdir = tmp_path / "run"
    done = subprocess.run([*command, f"--workdir={workdir}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, told = BEFORE.get(name, (None, ()))
    for word in (*told, f"iteration {iterations}/{iterations}: solved", "the first candidate, "):
        assert word in done.stdout
    last = re.search(r"^(\d+) programs compiled, peak memory", done.stdout, re.MULTILINE)
    assert last and int(last[1]) <= MOST_PROGRAMS.get(name, MOST_PROGRAMS_OF_OTHERS)
    assert not done.stderr, "libraries are to be quiet"
    records = read_metrics(workdir / "metrics.jsonl")
    assert {"train", "iteration", first} - {None} == {record["kind"] for record in records}
    with TrajectoryStore(workdir / "store.sqlite", read_only=True) as store:
        stages = {(trajectory.iteration, trajectory.stage) for trajectory in store.trajectories()}
        later = {(1, "explore"), (1, "refine")} if iterations == 2 else set()
        assert stages == {(0, "explore")} | later
    assert (workdir / "final" / "model.safetensors").exists()
