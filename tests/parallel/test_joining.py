"""How a process finds the others of its run, and what it says where it cannot."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from envisions_jax import hosts
from envisions_jax.hosts import VARIABLES, HostsError, VariablesError


def given(monkeypatch: pytest.MonkeyPatch, values: tuple[str, str, str]) -> None:
    for name, value in zip(VARIABLES, values, strict=True):
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (("", "2", "0"), "give all of JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID"),
        (("here:1", "2", ""), "give all of"),
        (("here", "2", "0"), "JAX_COORDINATOR_ADDRESS=here: give host:port"),
        (("here:", "2", "0"), "give host:port"),
        (("here:99999", "2", "0"), "give host:port"),
        (("here:1", "two", "0"), "JAX_NUM_PROCESSES=two: give how many there are"),
        (("here:1", "0", "0"), "JAX_NUM_PROCESSES=0: give how many"),
        (("here:1", "2", "2"), "JAX_PROCESS_ID=2: give a number from 0 to 1"),
        (("here:1", "2", "-1"), "JAX_PROCESS_ID=-1: give a number"),
    ],
)
def test_variables_that_cannot_be_meant_are_named(
    values: tuple[str, str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, values)
    with pytest.raises(VariablesError, match=told):
        hosts.start()


def test_wrong_variables_are_a_command_that_cannot_work(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "envisions_jax.main", "--config=configs/quickstart.py:tiny"]
    command += ["--distributed", f"--workdir={tmp_path / 'run'}"]
    environment = os.environ | dict(zip(VARIABLES, ("here:1", "2", "2"), strict=True))
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "JAX_PROCESS_ID=2" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_first_process_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(hosts, "START_S", 1)
    given(monkeypatch, (address, "2", "1"))
    with pytest.raises(HostsError, match=f"nobody answered at JAX_COORDINATOR_ADDRESS={address} for 1 s"):
        hosts.start()
    assert f"waiting for the first process of this run at {address}" in capsys.readouterr().err


def test_who_finds_the_first_process_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        hosts._await_first(f"127.0.0.1:{server.getsockname()[1]}")
    assert capsys.readouterr().err == ""
