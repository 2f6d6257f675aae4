"""When the judge of LaTeX fails: no verdict, rather than a wrong one; and it is quiet."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

import envs
from envs.python import PythonEnvironment
from envs.sandbox import program
from envs.sandbox.pool import SandboxPool
from envs.sandbox.settings import SandboxSettings
from tests.envs.conftest import run

_ANSWER = "\\sqrt{2}"
_RIGHT = "result = '\\\\frac{2}{\\\\sqrt{2}}'"
_SLOW = "result = '10^{10^{8}}'"  # SymPy would be at it for hours


@contextmanager
def _killing(environment: PythonEnvironment, depth: int, times: int) -> Iterator[list[int]]:
    """Meanwhile kills the judge's zygote (depth 0) or its child (1), `times` times while it compares.

    Yields the list of the children concerned.
    """
    assert run(environment, _RIGHT, _ANSWER).correct  # a judge that starts has children that compare nothing
    assert environment._judge is not None
    pool, stop, killed = environment._judge, threading.Event(), list[int]()
    seen_since: dict[int, float] = {}  # a process's own age is known to a second only

    def kill() -> None:
        while not stop.wait(0.01) and len(killed) < times:
            for pid in pool.processes():
                try:
                    family = psutil.Process(pid).children(recursive=True)
                    if len(family) != 2:
                        continue
                    since = seen_since.setdefault(family[1].pid, time.monotonic())
                    if time.monotonic() - since > 0.3 and family[1].pid not in killed:
                        family[depth].kill()
                        killed.append(family[1].pid)
                except psutil.NoSuchProcess:
                    continue

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def judging() -> Iterator[PythonEnvironment]:
    """An environment whose judge has started."""
    with PythonEnvironment(workers=1) as environment:
        assert run(environment, _RIGHT, _ANSWER).correct
        yield environment


@pytest.mark.parametrize("depth", [0, 1], ids=["zygote", "child"])
def test_a_judge_that_dies_twice_gives_no_verdict(judging: PythonEnvironment, depth: int) -> None:
    with _killing(judging, depth, times=2) as killed:
        outcome = run(judging, _SLOW, _ANSWER)
    assert len(killed) == 2
    assert outcome.kind == "infrastructure", outcome
    assert "comparison" in outcome.error
    assert run(judging, _RIGHT, _ANSWER).correct


@pytest.mark.parametrize("depth", [0, 1], ids=["zygote", "child"])
def test_a_judge_that_dies_once_is_asked_again(judging: PythonEnvironment, depth: int) -> None:
    with _killing(judging, depth, times=1) as killed:
        outcome = run(judging, _SLOW, _ANSWER)
    assert len(killed) == 1
    assert outcome.kind == "wrong", outcome


def test_the_judge_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with PythonEnvironment(workers=1) as environment:
        assert run(environment, _RIGHT, _ANSWER).correct
    assert capfd.readouterr() == ("", "")


def test_programs_that_can_never_be_confined_are_reported() -> None:
    """Here by a memory limit that the kernel cannot even be told, past the environment's own check."""
    settings = SandboxSettings(
        "envs.sandbox.program:run", program.PRELOAD, 1.0, 10**14, 1000, protection="full"
    )
    pool = SandboxPool(1, settings)
    with pytest.raises(envs.EnvironmentFailure, match="could not be confined"):
        pool.wait(pool.submit({"program": "result = 42"}))
    assert pool.processes() == []
