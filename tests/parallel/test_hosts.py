"""A run of two processes, each with four devices, beside the same run of one process with eight."""

import contextlib
import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from envisions_jax.command_line import for_fake_devices
from envisions_jax.metrics import read_metrics
from envisions_jax.store import TrajectoryStore
from envisions_jax.store.errors import StoreError
from envisions_jax.workdir import WorkDir
from tests.free_address import free_address
from tests.tiny_experiment import make_experiment

SETTINGS = ("--config.loop.iterations=2", "--config.eval.base=False", "--config.progress=False")
ENDS_WITHIN_S = 60
PATIENCE_S = 300  # short enough that XLA speaks before a test ends
LARGEST_FILE = 90_000  # bytes: less than a process's part of a checkpoint, more than what else it writes
KILLS = int(os.environ.get("ENVISIONS_KILLS", "2"))  # moments at which a process is killed

pytestmark = [pytest.mark.multidevice, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [*make_experiment(tmp_path_factory.mktemp("experiment")), *SETTINGS]


def start(
    arguments: Sequence[str], workdir: Path, processes: int, of_the_last: Sequence[str] = ()
) -> list[subprocess.Popen[str]]:
    """Processes of one run, with eight devices together; the last one is given something more."""
    address = free_address()
    started = []
    for number in range(processes):
        environment = os.environ | {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={8 // processes}",
            "JAX_PLATFORMS": "cpu",
        }
        environment |= for_fake_devices(environment, PATIENCE_S)
        command = [sys.executable, "-m", "envisions_jax.main", "--config=configs/quickstart.py:tiny"]
        command += [f"--workdir={workdir}", *arguments]
        if number == processes - 1:
            command += of_the_last
        if processes > 1:
            command.append("--distributed")
            environment |= {
                "JAX_COORDINATOR_ADDRESS": address,
                "JAX_NUM_PROCESSES": str(processes),
                "JAX_PROCESS_ID": str(number),
            }
        log = workdir.with_name(f"{workdir.name}-{number}.log").open("a")
        started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, text=True))
    return started


def finished(arguments: Sequence[str], workdir: Path, processes: int) -> WorkDir:
    codes = [process.wait() for process in start(arguments, workdir, processes)]
    logs = [workdir.with_name(f"{workdir.name}-{number}.log").read_text() for number in range(processes)]
    assert codes == [0] * processes, logs
    return WorkDir(workdir)


@pytest.fixture(scope="module")
def together(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    return finished(arguments, tmp_path_factory.mktemp("together") / "run", processes=2)


def assert_same(one: WorkDir, other: WorkDir, tolerance: float) -> None:
    """The same candidates, verdicts and choices; numbers within `tolerance`."""
    with contextlib.ExitStack() as stack:
        stores = [
            stack.enter_context(TrajectoryStore(workdir.store, read_only=True)) for workdir in (one, other)
        ]
        expected, found = (store.trajectories() for store in stores)
        assert [(t.id, t.text, tuple(t.tokens), t.outcome) for t in expected] == [
            (t.id, t.text, tuple(t.tokens), t.outcome) for t in found
        ]
        finite = [np.nan_to_num([t.self_reward for t in own], neginf=-99) for own in (expected, found)]
        np.testing.assert_allclose(*finite, rtol=0, atol=tolerance)
        for iteration in range(2):
            kept = [[t.id for t in store.kept(iteration)] for store in stores]
            assert kept[0] == kept[1]
    accuracies = [
        [record["accuracy"] for record in read_metrics(workdir.metrics) if record["kind"] == "iteration"]
        for workdir in (one, other)
    ]
    assert accuracies[0] == accuracies[1] and len(accuracies[0]) == 2
    weights = [load_file(workdir.final / "model.safetensors") for workdir in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    for name, array in weights[0].items():
        np.testing.assert_allclose(array, weights[1][name], rtol=0, atol=tolerance)


def test_two_processes_end_as_one_does(arguments: list[str], together: WorkDir, tmp_path: Path) -> None:
    assert_same(finished(arguments, tmp_path / "alone", processes=1), together, tolerance=1e-5)


def test_a_cold_start_and_adapters_that_go_on_from_iteration_to_iteration(
    arguments: list[str], tmp_path: Path
) -> None:
    settings = ["loop.cold_start=demonstrations", "loop.cold_start_examples=8", "loop.cold_start_epochs=2"]
    settings += ["train.continual=True", "train.lora_rank=4"]
    other = [*arguments, *(f"--config.{setting}" for setting in settings)]
    one, two = (finished(other, tmp_path / f"{processes}", processes) for processes in (1, 2))
    assert_same(one, two, tolerance=1e-5)


def test_processes_that_are_not_given_the_same_end_with_what_differs(
    arguments: list[str], tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    other = ["--config.sampler.k=4", "--config.env.workers=2"]  # the latter is each one's own
    codes = [process.wait(timeout=300) for process in start(arguments, workdir, 2, other)]
    for number in range(2):
        log = workdir.with_name(f"run-{number}.log").read_text()
        assert (
            "error: the processes of this run were not given the same command: sampler.k is 3 in the" in log
        )
        assert "Traceback" not in log
    assert codes == [2, 2] and not workdir.exists()


def test_processes_that_do_not_share_the_work_directory_end_with_that(
    arguments: list[str], tmp_path: Path
) -> None:
    other = [f"--workdir={tmp_path / 'another'}"]
    codes = [process.wait(timeout=300) for process in start(arguments, tmp_path / "run", 2, other)]
    for number in range(2):
        log = (tmp_path / f"run-{number}.log").read_text()
        assert (
            f"error: --workdir: what the first process wrote to {tmp_path / 'run'} is not there in" in log
            or (
                f"error: --workdir: what the first process wrote to {tmp_path / 'another'} is not there in"
                in log
            )
        )
    assert codes == [1, 1]


def shards_of(workdir: Path) -> int:
    """Shards that the store of a run has already."""
    try:
        with TrajectoryStore(WorkDir(workdir).store, read_only=True) as store:
            return len(store.trajectories(tokens=False))
    except StoreError:
        return 0


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_process_ends_the_other_and_the_run_goes_on(
    seed: int, arguments: list[str], together: WorkDir, tmp_path: Path
) -> None:
    workdir, victim = tmp_path / "run", seed % 2
    processes = start(arguments, workdir, processes=2)
    try:
        _wait_until(lambda: shards_of(workdir), processes)
        time.sleep(random.Random(seed).uniform(0, 10))
        processes[victim].send_signal(signal.SIGKILL)
        code = processes[1 - victim].wait(timeout=ENDS_WITHIN_S)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    log = workdir.with_name(f"run-{1 - victim}.log").read_text()
    assert code != 0
    assert "another process of this run" in log or "another task died" in log, log
    assert_same(finished(arguments, workdir, processes=2), together, tolerance=0)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_cannot_write_its_part_of_a_checkpoint_ends_all_and_the_run_goes_on(
    victim: int, arguments: list[str], together: WorkDir, tmp_path: Path
) -> None:
    """The system refuses it larger files from the first checkpoint on, as on a full disk."""
    workdir = tmp_path / "run"
    often = [*arguments, "--config.checkpoint.every_steps=1"]
    processes = start(often, workdir, processes=2)
    try:
        _wait_until(lambda: any(workdir.glob("checkpoints/train-*/*")), processes)
        hard = resource.prlimit(processes[victim].pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(processes[victim].pid, resource.RLIMIT_FSIZE, (LARGEST_FILE, hard))
        codes = [process.wait(timeout=ENDS_WITHIN_S) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    logs = [workdir.with_name(f"run-{number}.log").read_text() for number in range(2)]
    told = [log.strip().splitlines()[-1] for log in logs]
    assert codes == [1, 1], logs
    assert all(line.startswith("error: could not write ") for line in told), logs
    assert "File too large" in told[victim], logs
    assert f"process {victim} of the run: " in told[1 - victim], logs
    assert_same(finished(often, workdir, processes=2), together, tolerance=0)


def _wait_until(it_is_there: Callable[[], object], processes: Sequence[subprocess.Popen[str]]) -> None:
    for _ in _every(0.05, most=400):
        if it_is_there():
            return
        assert all(process.poll() is None for process in processes)
    raise AssertionError("nothing came")


def _every(seconds: float, most: float) -> Iterator[int]:
    for number in itertools.count():
        if number * seconds > most:
            return
        yield number
        time.sleep(seconds)
