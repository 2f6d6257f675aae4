"""What holds for all entry points, in this process."""

import gc
import os
import signal
import sys
import time

import pytest

from envisions_jax.command_line import interrupt_again_what_ignored_it


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
