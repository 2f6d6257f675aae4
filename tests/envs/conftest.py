"""One Python environment for all tests that do not break it, and what the hostile programs aim at."""

import time
from collections.abc import Callable, Iterator

import pytest

import envs
from envs.python import PythonEnvironment


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether `condition` came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def run(environment: envs.Environment, program: str, answer: str | int | float = 42) -> envs.Outcome:
    """The outcome of one program."""
    (outcome,) = environment.execute([(envs.Task("test", "?", answer), program)])
    return outcome


@pytest.fixture(scope="session")
def environment() -> Iterator[PythonEnvironment]:
    """Full sandbox, two workers, one second."""
    with PythonEnvironment(workers=2, time_limit_s=1.0) as environment:
        yield environment
