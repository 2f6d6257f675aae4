"""Answers to test tasks, and when they are executed."""

import threading
from collections.abc import Iterable, Iterator

import pytest

import envs
from envisions_jax.config import Config, EvalConfig
from envisions_jax.policy import Policy
from envisions_jax.prompts import Prompts
from envisions_jax.stages.evaluation import Exam, Test, examine, filed
from envisions_jax.stages.turns import Interaction
from envs import Outcome, Task

TESTS = [Test("some", Task(f"t/{number}", "?" * (1 + number % 5), number)) for number in range(24)]


class Echo(envs.Environment):
    """Gives the task's id and the program as the value."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()

    def execute(self, programs: Iterable[tuple[Task, str]]) -> Iterator[Outcome]:
        self.has_begun.set()
        yield from (Outcome("correct", f"{task.id}: {text}", "", "") for task, text in programs)

    def close(self) -> None: ...


@pytest.mark.parametrize(("beams", "turns"), [(1, 1), (2, 1), (1, 2)])
def test_every_answer_meets_its_own_task_in_an_open_loop_while_others_are_sampled(
    tiny_policy: Policy, beams: int, turns: int
) -> None:
    config = Config(eval=EvalConfig(max_new_tokens=8, beams=beams))
    prompts, environment, done = Prompts(), Echo(), list[int]()

    def advance(count: int) -> None:
        if turns == 1 and done:
            assert environment.has_begun.wait(20)
        assert turns == 1 or not environment.has_begun.is_set()
        done.append(count)

    exam = Exam(prompts=prompts, shots=0, interaction=Interaction(turns), config=config, tasks=8)
    exam = exam.planned(tiny_policy, [test.task for test in TESTS])
    answers = examine(tiny_policy, exam, environment, TESTS, advance)
    assert sum(done) == turns * len(TESTS) and len(done) > 1
    programs = [prompts.program_of(answer.completion) for answer in answers]
    ids = [test.task.id for test in TESTS]
    values = [f"{name}: {program}" for name, program in zip(ids, programs, strict=True)]
    assert [answer.outcome.value for answer in answers] == values
    results = filed(prompts, TESTS, answers, 3, "zero_shot")
    assert [(one.task_id, one.program, one.value) for one in results] == [
        *zip(ids, programs, values, strict=True)
    ]
