"""Checkpoints of two processes of which some cannot write: none waits for another, and all know why."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.free_address import free_address

ENDS_WITHIN_S = 120  # Orbax's threads wait 20 minutes for each other


@pytest.mark.multidevice
def test_a_checkpoint_that_one_process_cannot_write_fails_in_all(tmp_path: Path) -> None:
    common = {"JAX_PLATFORMS": "cpu", "JAX_COORDINATOR_ADDRESS": free_address(), "JAX_NUM_PROCESSES": "2"}
    command = [sys.executable, "-m", "tests.training.saving_program", str(tmp_path / "checkpoints")]
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
            process.wait()
    logs = [(tmp_path / f"{number}.log").read_text()[-3000:] for number in range(2)]
    assert [process.returncode for process in processes] == [0, 0], logs
    first, second = (json.loads(line.splitlines()[-1]) for line in printed)
    for met in first, second:
        assert met["nobody"] == met["nobody again"] == ""
        assert (met["steps"], met["restored"]) == ("[1, 9]", "9")
        assert "File too large" in met["01, 20000"]
    for case, victim, why in (
        ("0, 20000", 0, "File too large"),
        ("1, 20000", 1, "File too large"),
        ("0, 10", 0, "File too large"),
        ("1, 10", 1, "File too large"),
        ("naming", 0, "No space left on device"),
    ):
        own, other = (first, second) if victim == 0 else (second, first)
        assert why in own[case] and "of the run" not in own[case], case
        assert f"process {victim} of the run: " in other[case] and why in other[case], case
    assert "File too large" in first["0, 0"]
    assert "the first process of the run: [Errno 27] File too large" in second["0, 0"]
