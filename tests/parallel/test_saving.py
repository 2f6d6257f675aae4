"""Checkpoints of two processes of which some cannot write: none waits for another, and all know why."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ENDS_WITHIN_S = 120  # Orbax's threads wait 20 minutes for each other


@pytest.mark.multidevice
def test_a_checkpoint_that_one_process_cannot_write_fails_in_all(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    common = {"JAX_PLATFORMS": "cpu", "JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    command = [sys.executable, "-m", "tests.parallel.saving_program", str(tmp_path / "checkpoints")]
    processes = [
        subprocess.Popen(
            command,
            env=os.environ | common | {"JAX_PROCESS_ID": str(number)},
            stdout=subprocess.PIPE,
            stderr=(tmp_path / f"{number}.log").open("w"),
            text=True,
        )
        for number in range(2)
    ]
    try:
        printed = [process.communicate(timeout=ENDS_WITHIN_S)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    logs = [(tmp_path / f"{number}.log").read_text()[-3000:] for number in range(2)]
    assert [process.returncode for process in processes] == [0, 0], logs
    first, second = (json.loads(line.splitlines()[-1]) for line in printed)
    for met in first, second:
        assert met["nobody"] == met["nobody again"] == ""
        assert (met["steps"], met["restored"]) == ("[1, 6]", "6")
    for case, why in {"writing, 0": "File too large", "naming": "No space left on device"}.items():
        assert why in first[case] and "of the run" not in first[case]
        assert f"process 0 of the run: {why}" in second[case].replace("[Errno 28] ", "")
    assert "process 1 of the run: File too large" in first["writing, 1"]
    assert "File too large" in second["writing, 1"] and "of the run" not in second["writing, 1"]
    for met in first, second:
        assert "File too large" in met["writing, 01"]
