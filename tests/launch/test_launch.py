"""The scripts of `launch/`, run with stubs of what a site has: what do they ask of it?"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from envisions_jax.joining import VARIABLES

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
SCRIPTS = [LAUNCH / "local.sh", LAUNCH / "slurm.sbatch", LAUNCH / "tpu_pod.sh", *ROOT.glob("tools/*.sh")]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of commands that write down what they were called with, one line for each argument."""
    for name in ("srun", "scancel", "gcloud"):
        command = tmp_path / name
        command.write_text(
            f'#!/bin/sh\nprintf "%s\\n" {name} "$@" >> {tmp_path}/called\nexit "${{CODE:-0}}"\n'
        )
        command.chmod(0o755)
    return tmp_path


def launch(site: Path, *command: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """What a script says, and what it called."""
    path = f"{site}:{os.environ['PATH']}"
    done = subprocess.run(
        command, env=os.environ | {"PATH": path} | environment, capture_output=True, text=True, cwd=ROOT
    )
    called = site / "called"
    return done, called.read_text() if called.exists() else ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_clean(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    shellcheck = shutil.which("shellcheck", path=f"{ROOT}/.venv/bin:{os.environ['PATH']}")
    assert shellcheck, "shellcheck is one of the developer's tools: make setup-dev"
    done = subprocess.run([shellcheck, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_one_node_runs_one_process_without_others(site: Path) -> None:
    done, called = launch(
        site,
        "bash",
        "launch/slurm.sbatch",
        "configs/math.py",
        "/shared/a run",
        "--config.seed=1",
        SLURM_JOB_NUM_NODES="1",
    )
    assert done.returncode == 0, done.stderr
    assert called.split("\n")[:-1] == [
        "srun",
        "--kill-on-bad-exit=1",
        "--cpus-per-task=1",
        f"{ROOT}/.venv/bin/python",
        "-m",
        "envisions_jax.main",
        "--config=configs/math.py",
        "--workdir=/shared/a run",
        "--config.seed=1",
    ]


@pytest.mark.parametrize(("code", "is_cancelled"), [(0, True), (2, True), (1, False), (137, False)])
def test_several_nodes_join_and_an_array_goes_on_until_it_is_done(
    code: int, is_cancelled: bool, site: Path
) -> None:
    (site / "srun").write_text(f'#!/bin/sh\necho "$JAX_LOCAL_DEVICE_IDS" "$@" > {site}/called\nexit {code}\n')
    done, called = launch(
        site,
        *("bash", "launch/slurm.sbatch", "configs/math.py", "/shared/run"),
        SLURM_JOB_NUM_NODES="2",
        SLURM_GPUS_ON_NODE="4",
        SLURM_ARRAY_JOB_ID="77",
    )
    assert done.returncode == code
    first = called.splitlines()[0]
    assert first.startswith("0,1,2,3 --kill-on-bad-exit=1") and first.endswith("--distributed")
    assert (called.splitlines()[1:] == ["scancel", "--state=PENDING", "77"]) is is_cancelled


def test_a_job_that_lacks_something_says_what(site: Path) -> None:
    done, called = launch(site, "bash", "launch/slurm.sbatch", "configs/math.py")
    assert (done.returncode, called) == (2, "") and "usage: sbatch" in done.stderr
    done, called = launch(site, "bash", "launch/slurm.sbatch", "a", "b", ENVISIONS_ROOT="/nowhere")
    assert (done.returncode, called) == (2, "") and "no envisions_jax" in done.stderr


def test_a_slice_is_asked_for_with_its_type(site: Path) -> None:
    asked = {"TYPE": "v5litepod-16", "ZONE": "here-a", "SPOT": "1"}
    done, called = launch(site, "launch/tpu_pod.sh", "create", "mine", **asked)
    assert done.returncode == 0, done.stderr
    words = called.split("\n")
    assert words[:6] == ["gcloud", "compute", "tpus", "queued-resources", "create", "mine"]
    assert {"--accelerator-type=v5litepod-16", "--zone=here-a", "--spot"} <= set(words)
    assert "--runtime-version=v2-alpha-tpuv5-lite" in words


def test_a_type_without_a_known_runtime_asks_for_one(site: Path) -> None:
    done, called = launch(site, "launch/tpu_pod.sh", "create", "mine", TYPE="v9-16")
    assert (done.returncode, called) == (2, "") and "set RUNTIME" in done.stderr
    done, called = launch(site, "launch/tpu_pod.sh", "create", "mine", TYPE="v9-16", RUNTIME="its-own")
    assert done.returncode == 0 and "--runtime-version=its-own" in called


def test_all_hosts_of_a_slice_run_the_same_command(site: Path) -> None:
    done, called = launch(
        site,
        *("launch/tpu_pod.sh", "run", "mine", "configs/math.py", "/mnt/envisions/a run", "--config.seed=1"),
        NFS="10.0.0.2:/runs",
    )
    assert done.returncode == 0, done.stderr
    copy, mount, install, stop, run = called.split("gcloud\n")[1:]
    assert "\nscp\n" in copy and "mine:envisions.tar.gz" in copy
    assert "mount 10.0.0.2:/runs /mnt/envisions" in mount
    assert "pip install" in install and "'.[tpu,data,logic]'" in install
    assert all("--worker=all" in one for one in (copy, mount, install, stop, run))
    assert "envisions_jax.main" not in stop  # or it would end the shell that says so
    assert (
        "envisions_jax.main --config=configs/math.py --workdir=/mnt/envisions/a\\ run --distributed "
        "--config.seed=1"
    ) in run


@pytest.mark.parametrize("arguments", [[], ["create"], ["build", "mine"], ["run", "mine", "configs/math.py"]])
def test_a_slice_is_left_alone_by_a_command_that_is_not_whole(arguments: list[str], site: Path) -> None:
    done, called = launch(site, "launch/tpu_pod.sh", *arguments)
    assert (done.returncode, called) == (2, "")
    assert "launch/tpu_pod.sh" in done.stderr or "no action" in done.stderr


def test_the_job_set_starts_as_many_processes_as_it_says() -> None:
    jobs: dict[str, Any] = yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())
    assert (jobs["apiVersion"], jobs["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    [replicated] = jobs["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    [container] = job["template"]["spec"]["containers"]
    environment = {one["name"]: one for one in container["env"]}
    assert set(environment) == {*VARIABLES, "HF_HOME"}
    assert job["parallelism"] == job["completions"] == int(environment["JAX_NUM_PROCESSES"]["value"])
    assert job["completionMode"] == "Indexed"  # which numbers them
    host = f"{jobs['metadata']['name']}-{replicated['name']}-0-0.{jobs['spec']['network']['subdomain']}"
    assert environment["JAX_COORDINATOR_ADDRESS"]["value"].partition(":")[0] == host
    assert "--distributed" in container["args"]


def test_the_image_has_the_packages_of_the_gpu_list() -> None:
    instructions = (LAUNCH / "Dockerfile").read_text()
    copied = [line.split()[1:-1] for line in instructions.splitlines() if line.startswith("COPY")]
    assert all((ROOT / name).exists() for names in copied for name in names)
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sent == {name for names in copied for name in names}
    assert "-r requirements-gpu.txt" in instructions and "envisions_jax.main" in instructions
