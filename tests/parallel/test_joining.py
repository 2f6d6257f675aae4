"""How a process finds the others of its run, and what it says where it cannot."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envisions_jax import hosts, joining
from envisions_jax.joining import VARIABLES, HostsError, VariablesError, join
from tests.free_address import free_address


def given(monkeypatch: pytest.MonkeyPatch, values: tuple[str, str, str]) -> None:
    for name, value in zip(VARIABLES, values, strict=True):
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (("", "2", "0"), "JAX_COORDINATOR_ADDRESS not set; give all of JAX_COORDINATOR_ADDRESS, JAX_NUM_P"),
        (("here:1", "2", ""), "JAX_PROCESS_ID not set; give all of"),
        (("http://here:1", "2", "0"), "JAX_COORDINATOR_ADDRESS=http://here:1: give host:port"),
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


@pytest.fixture
def address() -> str:
    return free_address()


def joined(address: str, *processes: tuple[int, int]) -> list[str]:
    """What each of these (how many it is told there are, its number) is told; nothing if it joins."""

    def told(process: tuple[int, int]) -> str:
        try:
            join(address, *process)
        except HostsError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(len(processes)) as pool:
        return list(pool.map(told, processes))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_all_go_on_when_all_are_there(address: str, order: tuple[int, ...]) -> None:
    assert joined(address, *((3, number) for number in order)) == ["", "", ""]
    assert joined(address, (2, 0), (2, 1)) == ["", ""]  # the port is free again, at once


def test_what_does_not_fit_is_told_to_the_first_and_to_whom_it_is(address: str) -> None:
    first, second = joined(address, (3, 0), (2, 1))
    assert "JAX_NUM_PROCESSES is 3 in the first process and 2 in process 1" in first
    assert f"the first process at {address} says: JAX_NUM_PROCESSES is 3" in second


def test_a_number_given_twice_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "START_S", 5)
    told = joined(address, (3, 0), (3, 1), (3, 1))
    assert any("JAX_PROCESS_ID=1 is given to two processes" in line for line in told), told
    assert "given to two processes; give all the same number" in told[0]


def test_who_does_not_come_is_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "START_S", 3)
    first, second = joined(address, (3, 0), (3, 2))
    assert f"of 3 processes 2 came to {address} in 3 s; JAX_PROCESS_ID=1 did not" in first
    assert f"says: of 3 processes 2 came to {address}" in second


def test_a_place_that_another_program_holds_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "START_S", 3)
    with socket.create_server(("", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(HostsError, match=r"cannot listen there \(.*in use.*\); choose another port"):
            join(address, 2, 0)
        with pytest.raises(HostsError, match="what listens there is no process of this run"):
            join(address, 2, 1)


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 70])
def test_a_host_that_nobody_knows_is_told(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "START_S", 0)
    with pytest.raises(HostsError, match=rf"{host}:1: nobody answered \("):
        join(f"{host}:1", 2, 1)


def test_a_first_process_that_is_not_there_is_told(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(joining, "START_S", 1)
    given(monkeypatch, (address, "2", "1"))
    with pytest.raises(HostsError, match=f"JAX_COORDINATOR_ADDRESS={address}: nobody answered"):
        hosts.start()
    assert f"waiting for the first process of this run at {address}" in capsys.readouterr().err


def test_strangers_and_those_who_leave_are_not_counted(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan of ports, a process that was interrupted while it waited and started again."""
    monkeypatch.setattr(joining, "START_S", 60)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(join, address, 3, 0)
        host, _, port = address.rpartition(":")
        for said in (b"GET / HTTP/1.1\r\n", b"envisions-jax 1 3\n", b"envisions-jax 0 3\n"):
            with connected(host, int(port)) as stranger:
                stranger.sendall(said)
                stranger.settimeout(10)
                stranger.recv(1)
        assert not first.done()
        assert joined(address, (3, 1), (3, 2)) == ["", ""]
        first.result(timeout=10)


def connected(host: str, port: int) -> socket.socket:
    for _ in range(100):
        try:
            return socket.create_connection((host, port))
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError("nobody listens")


def test_ctrl_c_ends_the_first_process_while_it_waits(address: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "envisions_jax.main", "--config=configs/quickstart.py:tiny"]
    command += ["--distributed", f"--workdir={tmp_path / 'run'}"]
    environment = os.environ | dict(zip(VARIABLES, (address, "2", "0"), strict=True))
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline().startswith(
        f"waiting at {address} for 1 other process of this run, 300 s"
    )
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert process.stderr.read() == "error: interrupted before anything was begun\n"
