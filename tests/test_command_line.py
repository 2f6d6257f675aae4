"""What holds for all entry points, in this process."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from envisions_jax.command_line import interrupt_again_what_ignored_it, say_nothing_of_closed_loops

ROOT = Path(__file__).parents[1]


def test_ctrl_c_is_heard_even_if_a_callback_of_the_garbage_collector_meets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # put back afterwards
    interrupt_again_what_ignored_it()
    met = []

    def callback(phase: str, info: dict[str, int]) -> None:
        if not met:
            met.append(phase)
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):  # until it is raised, here
                pass

    gc.callbacks.append(callback)
    try:
        gc.collect()
        assert met == ["start"]
        with pytest.raises(KeyboardInterrupt):
            time.sleep(10)
    finally:
        gc.callbacks.remove(callback)


def test_an_interrupted_program_ends_without_what_python_does_at_its_end() -> None:
    """Another thread may still be in what was interrupted, where a segmentation fault can meet it."""
    program = """
import atexit, sys
from envisions_jax import command_line
def program(config, flags):
    print("begun")
    raise KeyboardInterrupt
atexit.register(print, "Python's end")
command_line.run(program, lambda: None)
"""
    arguments = [sys.executable, "-c", program, "--config=configs/quickstart.py"]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert ended.returncode == 130
    assert ended.stdout == "begun\n"
    assert ended.stderr == "error: interrupted; run the same command again to go on where it was\n"


@pytest.mark.parametrize(
    ("told", "thread", "error"),
    [
        (False, "another", RuntimeError("Event loop is closed")),
        (True, "another", RuntimeError("something else")),
        (
            True,
            "main",
            RuntimeError("Event loop is closed"),
        ),  # it may be of another library, and the run's end
    ],
)
def test_closed_loops_are_told_where_they_end_a_run(
    monkeypatch: pytest.MonkeyPatch, told: bool, thread: str, error: Exception
) -> None:
    heard: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: heard.append(error))
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # put back afterwards
    say_nothing_of_closed_loops()
    if thread == "main":
        sys.excepthook(type(error), error, None)
    else:
        other = threading.Thread(target=lambda: sys.excepthook(type(error), error, None))
        other.start()
        other.join()
    assert heard == ([error] if told else [])
