"""Threads of programs: as many as they like within their worker's limits, whatever the neighbours do."""

import os

import psutil
import pytest

import envs
from envs.python import PythonEnvironment
from tests.envs.conftest import run, wait_until

_MANY = 40  # two programs side by side have more than one user may have
_THREADS = f"""
import threading, time
done = []
def work(number):
    time.sleep(0.1)
    done.append(len(bytearray(2000)) * number)
def solution():
    threads = [threading.Thread(target=work, args=(number,)) for number in range({_MANY})]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(done)
"""
_BOMB = """
import threading, time
threading.stack_size(32768)
while True:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
"""


def test_programs_with_many_threads_do_not_disturb_each_other(environment: PythonEnvironment) -> None:
    task = envs.Task("threads", "?", _MANY)
    outcomes = list(environment.execute([(task, _THREADS)] * 8))
    assert [outcome.kind for outcome in outcomes] == ["correct"] * 8, outcomes


def test_a_thread_bomb_ends_and_only_its_own_program(environment: PythonEnvironment) -> None:
    task = envs.Task("threads", "?", _MANY)
    programs = [(task, _BOMB if number % 2 else _THREADS) for number in range(8)]
    outcomes = list(environment.execute(programs))
    assert [outcome.kind for outcome in outcomes] == ["correct", "error"] * 4, outcomes
    assert all("can't start new thread" in outcome.error for outcome in outcomes[1::2])
    assert run(environment, "result = 42").correct


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user cannot give its workers users of their own")
def test_every_worker_of_root_has_a_user_of_its_own(environment: PythonEnvironment) -> None:
    launchers = [psutil.Process(pid) for pid in environment.processes()]

    def users() -> list[int]:  # a launcher that has only just started may have other children for a moment
        try:
            found = [child.uids() for launcher in launchers for child in launcher.children()]
        except psutil.NoSuchProcess:
            return []
        return [user.real for user in found if user.real == user.effective == user.saved >= 0x7E000000]

    assert wait_until(lambda: len(set(users())) == len(users()) == len(launchers)), users()
