"""`kill -9` at any moment, then the same command: the run ends as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from envisions_jax.metrics import read_metrics, without_time
from envisions_jax.store import TrajectoryStore
from tests.tiny_experiment import make_experiment

ROOT = Path(__file__).parents[1]
COLD_START = ("loop.cold_start=demonstrations", "loop.cold_start_examples=6", "loop.iterations=1")


class Result(NamedTuple):
    """All that a run decided."""

    store: tuple[tuple[object, ...], ...]
    weights: bytes
    metrics: list[dict[str, object]]


def start(overrides: Sequence[str], workdir: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "envisions_jax.main", "--config=configs/quickstart.py:tiny", *overrides]
    with (workdir.parent / "log").open("ab") as log:
        return subprocess.Popen([*command, f"--workdir={workdir}"], cwd=ROOT, stdout=log, stderr=log)


def finish(process: subprocess.Popen[bytes], workdir: Path) -> None:
    assert process.wait(timeout=900) == 0, (workdir.parent / "log").read_text()[-3000:]


def wait_until_it_writes(process: subprocess.Popen[bytes], workdir: Path) -> bool:
    """Whether the process came to hold the store before it ended."""
    lock = workdir / "store.sqlite.lock"
    while process.poll() is None:
        if lock.exists() and lock.read_text() == str(process.pid):
            return True
        time.sleep(0.01)
    return False


def result(workdir: Path) -> Result:
    with TrajectoryStore(workdir / "store.sqlite", read_only=True) as store:
        rows = tuple(store.dump())
    records = [without_time(record) for record in read_metrics(workdir / "metrics.jsonl")]
    return Result(rows, (workdir / "final" / "model.safetensors").read_bytes(), records)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("changes", "most"), [((), 10), (COLD_START, 4)], ids=["few-shot", "cold start"])
def test_a_run_killed_at_random_moments_ends_as_one_never_interrupted(
    tmp_path: Path, changes: Sequence[str], most: int
) -> None:
    """`most` kills in all; `changes` are settings besides those of the tiny experiment."""
    overrides = [*make_experiment(tmp_path / "experiment"), *(f"--config.{change}" for change in changes)]
    undisturbed = tmp_path / "undisturbed" / "run"
    undisturbed.parent.mkdir()
    for _ in range(2):  # the second time with everything compiled, to know how long the work takes
        subprocess.run(["rm", "-rf", str(undisturbed)], check=True)
        process = start(overrides, undisturbed)
        assert wait_until_it_writes(process, undisturbed)
        begin = time.monotonic()
        finish(process, undisturbed)
        duration = time.monotonic() - begin
    expected = result(undisturbed)
    assert any(row[0] == "selected" for row in expected.store) and len(expected.metrics) > 4
    assert ("cold_start" in {record["kind"] for record in expected.metrics}) == bool(changes)

    rng, kills, runs = random.Random(0), 0, 0
    while kills < most:
        workdir = tmp_path / f"killed-{runs}" / "run"
        workdir.parent.mkdir()
        runs += 1
        while True:
            process = start(overrides, workdir)
            if kills < most and wait_until_it_writes(process, workdir):
                time.sleep(rng.uniform(0, duration / 3))
                if process.poll() is None:
                    os.kill(process.pid, signal.SIGKILL)
                    process.wait()
                    kills += 1
                    continue
            finish(process, workdir)
            break
        found = result(workdir)
        assert found.store == expected.store
        assert found.weights == expected.weights
        assert found.metrics == expected.metrics
        assert not list((workdir / "checkpoints").glob("train-*"))
