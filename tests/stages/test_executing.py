"""Candidates that are executed while others are being sampled."""

import threading
import time
from collections.abc import Iterable, Iterator

import pytest

import envs
from envisions_jax.stages.executing import Executing
from envs import Outcome, Task

TASK = Task("t", "?", 1)


class Slow(envs.Environment):
    """Gives a program's text as its value; the first call waits until it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.go_on = threading.Event()
        self.begun = threading.Event()
        self.threads: set[int] = set()

    def execute(self, programs: Iterable[tuple[Task, str]]) -> Iterator[Outcome]:
        texts = [text for _, text in programs]
        self.calls.append(texts)
        self.threads.add(threading.get_ident())
        self.begun.set()
        assert self.go_on.wait(20)
        if "bad" in texts:
            raise envs.EnvironmentFailure("it broke")
        yield from (Outcome("correct", text, "", "") for text in texts)

    def close(self) -> None: ...


def test_what_piles_up_is_executed_together_and_committed_in_its_turn() -> None:
    environment, charged, done = Slow(), list[float](), list[list[str]]()
    with Executing(environment, charged.append) as executing:

        def commit(shard: int) -> None:
            done.append([outcome.value for key, outcome in executing.outcomes.items() if key[0] == shard])

        executing.add((0, 0), TASK, "a")
        assert environment.begun.wait(20)  # the environment is busy with the first one
        for index, program in enumerate("bc", start=1):
            executing.add((0, index), TASK, program)
        executing.then(lambda: commit(0))
        executing.add((1, 0), TASK, "d")
        executing.then(lambda: commit(1))
        environment.go_on.set()
    assert environment.calls == [["a"], ["b", "c", "d"]]
    assert done == [["a", "b", "c"], ["d"]]
    assert len(charged) == 2 and len(environment.threads) == 1
    assert threading.get_ident() not in environment.threads


def test_waiting_leaves_the_environment_to_the_caller() -> None:
    environment = Slow()
    environment.go_on.set()
    with Executing(environment, lambda _: None) as executing:
        executing.add((0, 0), TASK, "a")
        executing.wait()
        assert executing.outcomes[0, 0].value == "a"
        assert [one.value for one in environment.execute([(TASK, "mine")])] == ["mine"]
        executing.add((0, 1), TASK, "b")
    assert environment.calls == [["a"], ["mine"], ["b"]]


def test_a_failure_is_told_and_nothing_is_committed_after_it() -> None:
    environment, committed = Slow(), list[int]()
    environment.go_on.set()
    with pytest.raises(envs.EnvironmentFailure, match="it broke"), Executing(environment, print) as executing:
        executing.add((0, 0), TASK, "bad")
        executing.then(lambda: committed.append(len(executing.outcomes)))
    assert committed == []


class Lazy(envs.Environment):
    """Executes one program after the other, as many as it may."""

    def __init__(self) -> None:
        self.executed: list[str] = []
        self.begun, self.may, self.is_closed = threading.Event(), threading.Semaphore(0), False

    def execute(self, programs: Iterable[tuple[Task, str]]) -> Iterator[Outcome]:
        self.begun.set()
        try:
            for _, text in programs:
                assert self.may.acquire(timeout=20)
                self.executed.append(text)
                yield Outcome("correct", text, "", "")
        finally:
            self.is_closed = True

    def close(self) -> None: ...


@pytest.mark.parametrize(("needed", "executed"), [(1, "012"), (4, "01234")])
def test_an_interruption_gives_up_what_nobody_needs_of_what_is_under_way(needed: int, executed: str) -> None:
    environment, done = Lazy(), list[str]()
    with pytest.raises(KeyboardInterrupt), Executing(environment, lambda _: None) as executing:
        executing.add((0, 0), TASK, "0")
        assert environment.begun.wait(20)
        for number in range(1, 9):  # these go to the environment together
            executing.add((0, number), TASK, str(number))
            if number == needed:
                executing.then(lambda: done.append("".join(environment.executed)))
        environment.may.release(2)
        while len(environment.executed) < 2:
            time.sleep(0.01)
        threading.Timer(0.3, lambda: environment.may.release(20)).start()  # it works at "2" until then
        raise KeyboardInterrupt
    assert environment.executed == [*executed] and environment.is_closed
    assert done == [executed]


def test_a_failure_is_told_by_what_is_added_next() -> None:
    environment = Slow()
    environment.go_on.set()
    told = 0
    with pytest.raises(envs.EnvironmentFailure), Executing(environment, lambda _: None) as executing:
        executing.add((0, 0), TASK, "bad")
        for told in range(1, 2000):
            time.sleep(0.01)
            executing.add((0, told), TASK, "good")
    assert 0 < told < 1999


def test_an_interruption_keeps_a_finished_shard_and_gives_up_the_one_after_it() -> None:
    environment, committed = Slow(), list[list[str]]()
    with pytest.raises(KeyboardInterrupt), Executing(environment, lambda _: None) as executing:
        executing.add((0, 0), TASK, "a")
        assert environment.begun.wait(20)
        executing.add((0, 1), TASK, "b")
        executing.then(lambda: committed.append([outcome.value for outcome in executing.outcomes.values()]))
        executing.add((1, 0), TASK, "c")
        threading.Timer(0.5, environment.go_on.set).start()  # the environment works on "a" until then
        raise KeyboardInterrupt
    assert environment.calls == [["a"], ["b"]] and committed == [["a", "b"]]
