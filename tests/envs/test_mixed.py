"""Many mixed programs, a fifth of them hostile, through the pool: every outcome right, nothing left."""

import os
import random
from pathlib import Path

import psutil
import pytest

import envs
from envs.python import PythonEnvironment
from tests.envs.hostile import HOSTILE

# Those that end by their time limit take 1 s each; a twentieth of a fifth of 10,000 programs is enough.
_SHARE_OF_ENDLESS = 0.05


def _harmless(random_: random.Random, number: int) -> tuple[envs.Task, str, str]:
    """(task, program, expected kind); the answer tells whose outcome it is."""
    a, b = number, random_.randrange(1, 1000)
    program, kind = random_.choice(
        [
            (f"result = {a} + {b}", "correct"),
            (f"def solution():\n    a = {a}\n    b = {b}\n    return a + b", "correct"),
            (f"from sympy import *\nx = symbols('x')\nresult = solve(Eq(x - {b}, {a}), x)[0]", "correct"),
            (f"import numpy as np\ndef solution():\n    return np.array([{a}, {b}]).sum()", "correct"),
            (f"from fractions import Fraction\nprint({a})\nresult = Fraction({a}) + {b}", "correct"),
            (f"result = {a} + {b} + 1", "wrong"),
            (f"result = {a} / 0", "error"),
            (f"result = {a} +", "invalid"),
        ]
    )
    return envs.Task(str(number), "?", a + b), program, kind


def _hostile(random_: random.Random, number: int) -> tuple[envs.Task, str, str]:
    endless = [case for case in HOSTILE if case.kind == "timeout"]
    quick = [case for case in HOSTILE if case.kind != "timeout"]
    case = random_.choice(endless if random_.random() < _SHARE_OF_ENDLESS else quick)
    program = case.program.format(
        marker="/tmp/envs-mixed", secret="/etc/hostname", port=9, victim=os.getpid()
    )
    return envs.Task(str(number), "?", 42), program, case.kind


COUNT = 10_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_mixed_programs() -> None:
    random_ = random.Random(0)
    cases = [
        _hostile(random_, number) if random_.random() < 0.2 else _harmless(random_, number)
        for number in range(COUNT)
    ]
    memory = set(os.listdir("/dev/shm"))
    with PythonEnvironment(workers=2, time_limit_s=1.0, memory_limit_mb=64) as environment:
        pids = environment.processes()
        outcomes = environment.execute((task, program) for task, program, _ in cases)
        for (task, program, kind), outcome in zip(cases, outcomes, strict=True):
            assert outcome.kind == kind, (program, outcome)
            assert kind != "correct" or outcome.value == task.answer
            assert kind != "wrong" or outcome.value != task.answer
            assert outcome.seconds < 2.0
        processes = [p for pid in pids for p in psutil.Process(pid).children(recursive=True)]
        assert environment.processes() == pids, "no worker needed to be replaced"
        assert len(processes) <= 4, "one zygote each, and at most one child"
    assert not any(process.is_running() for process in processes)
    assert not Path("/tmp/envs-mixed").exists()
    assert set(os.listdir("/dev/shm")) == memory
