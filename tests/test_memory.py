"""Memory of the process: its peak, giving freed memory back, and the allocator's settings."""

import os
import subprocess
import sys

import numpy as np

from envisions_jax.memory import ALLOCATOR, ALLOCATOR_VARIABLE, peak_memory_gib

_RESTARTS = """
import os, sys
from envisions_jax.memory import restart_with_huge_pages
print("begin", os.getpid(), flush=True)
restart_with_huge_pages()
print(os.getpid(), os.environ["GLIBC_TUNABLES"], sys.argv[1:])
"""


def _run(extra: dict[str, str]) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != ALLOCATOR_VARIABLE}
    command = [sys.executable, "-c", _RESTARTS, "two words", "--flag=1"]
    found = subprocess.run(command, env=environment | extra, capture_output=True, text=True, check=True)
    return found.stdout.splitlines()


def test_restarts_once_as_the_same_process_with_the_same_arguments() -> None:
    first, second, told = _run({})
    assert first == second  # began twice, under one process id
    assert told == f"{first.split()[1]} {ALLOCATOR} ['two words', '--flag=1']"


def test_leaves_the_settings_of_the_user_alone() -> None:
    own = "glibc.malloc.arena_max=2"
    first, told = _run({ALLOCATOR_VARIABLE: own})
    assert told == f"{first.split()[1]} {own} ['two words', '--flag=1']"


def test_peak_memory_counts_what_was_touched() -> None:
    before = peak_memory_gib()
    room = int((before + 0.25) * 2**30)
    touched = np.ones(room, np.uint8)
    assert peak_memory_gib() >= before + 0.25
    assert touched[-1] == 1


def test_freed_memory_goes_back_to_the_system() -> None:
    """Blocks too small to be mapped one by one, with one left on top that keeps the heap from shrinking."""
    script = """
import re
from envisions_jax.memory import return_free_memory
resident = lambda: int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
blocks = [bytearray(100_000) for _ in range(3000)]
top = bytearray(100_000)
full = resident()
blocks.clear()
kept = resident()
return_free_memory()
print(full, kept, resident())
"""
    environment = os.environ | {ALLOCATOR_VARIABLE: ALLOCATOR}
    found = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    full, kept, returned = map(int, found.stdout.split())
    assert kept > full - 100_000  # KiB: freed, but not given back
    assert returned < full - 250_000
