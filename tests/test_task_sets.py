"""Sets that go together: no task twice, none both trained on and tested on, none shown beforehand."""

import itertools
from dataclasses import replace

import pytest

from envisions_jax.command_line import RunError
from envisions_jax.config import Config, from_config_dict
from envisions_jax.config_rules import ConfigError
from envisions_jax.task_sets import check_sets, cold_start_tasks, given_tasks
from envisions_jax.train_tasks import NewTasks
from envs import Task

ONE, TWO = Task("1", "1 and 1?", 2), Task("2", "1 and 2?", 3)


def test_sets_that_share_nothing_are_fine() -> None:
    check_sets({"asdiv:all[:1]": [ONE]}, {"asdiv": [TWO], "svamp": [Task("1", "9 and 9?", 18)]})


def test_a_published_set_may_hold_a_question_in_both_of_its_splits_but_not_many() -> None:
    tests = [Task(f"test/{number}", f"{number} and 1?", number + 1) for number in range(1, 21)]
    check_sets({"math": [ONE]}, {"math": tests})
    trained = [replace(task, id=f"train/{number}") for number, task in enumerate(tests[:3])]
    check_sets({"math": trained[:2]}, {"math": tests})
    with pytest.raises(ConfigError, match="3 of the 20 tasks of math are also trained on, under other ids"):
        check_sets({"math": trained}, {"math": tests})


@pytest.mark.parametrize("again", [ONE, Task("1", "another?", 5)])
def test_one_id_is_one_task_to_train_on(again: Task) -> None:
    with pytest.raises(ConfigError, match=r"tasks.train: id 1 is in asdiv and again in svamp"):
        check_sets({"asdiv": [ONE], "svamp": [again]}, {})


def test_what_is_trained_on_is_not_tested_on() -> None:
    with pytest.raises(ConfigError, match=r"2 of asdiv is also trained on, as 2 of asdiv:all\[:2\]"):
        check_sets({"asdiv:all[:2]": [ONE, TWO]}, {"asdiv": [TWO]})
    with pytest.raises(ConfigError, match="9 of svamp is also trained on, as 1 of asdiv"):
        check_sets({"asdiv": [ONE]}, {"svamp": [Task("9", ONE.question, 2)]})


def config_of(domain: str, **loop: object) -> Config:
    name, style = {"logic": ("theories", "logic"), "python": ("generated", "expression")}[domain]
    return from_config_dict(
        {
            "env": {"name": domain},
            "prompt": {"style": style, "shots": 1},
            "tasks": {"train": (name,), "test": (name,), "train_size": 6, "test_size": 6},
            "loop": {"cold_start": "demonstrations", **loop},
        }
    )


@pytest.mark.parametrize("domain", ["logic", "python"])
def test_demonstrations_are_tasks_that_are_neither_trained_nor_tested_on(domain: str) -> None:
    config = config_of(domain, cold_start_examples=8)
    given = given_tasks(config)
    assert len(given.gold) == 8 and "8 demonstrations to start from" in given.told
    used = [*given.train.explored(0), *(task for group in given.tests.values() for task in group)]
    assert not {task.id for task in given.gold} & {task.id for task in used}
    again = cold_start_tasks(config, used, given.gold[:3])  # as if some had been drawn to test on
    assert [task.id for task in again[:5]] == [task.id for task in given.gold[3:]] and len(again) == 8
    assert not given_tasks(config, train=False).gold
    assert not given_tasks(config_of(domain, cold_start="few_shot")).gold


def test_an_engine_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envisions_jax.task_sets.find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"pip install 'envisions-jax\[logic\]'"):
        given_tasks(config_of("logic"))
    assert given_tasks(config_of("python")).train.explored(0)


def test_more_demonstrations_than_there_are_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envisions_jax.tasks.theories._ATTEMPTS", 0)
    with pytest.raises(ConfigError, match=r"loop\.cold_start_examples=8: theories: found only 0"):
        cold_start_tasks(config_of("logic", cold_start_examples=8), [], [])


def test_demonstrations_of_another_world_are_refused() -> None:
    config = config_of("logic", cold_start_examples=8)
    closed = Task("t", "Is it?", "True", meta={"world": "closed"})
    with pytest.raises(
        ConfigError, match=r"theories\.world='open': .* the tasks to train on are of closed ones"
    ):
        cold_start_tasks(config, [closed], [])


@pytest.mark.parametrize("domain", ["logic", "python"])
def test_fresh_tasks_are_other_ones_in_every_iteration(domain: str) -> None:
    config = config_of(domain, cold_start="few_shot", iterations=3)
    same, config = given_tasks(config).train, replace(config, tasks=replace(config.tasks, fresh=True))
    given = given_tasks(config)
    assert given.told.startswith("18 tasks to train on (6 new ones in each of 3 iterations)")
    explored = [[task.id for task in given.train.explored(iteration)] for iteration in range(3)]
    assert [len(set(ids)) for ids in (*explored, itertools.chain(*explored))] == [6, 6, 6, 18]
    assert [task.id for task in given.train.known(1)] == explored[0] + explored[1]
    assert [task.id for task in same.explored(2)] == explored[0]  # and with more iterations it starts alike
    longer = given_tasks(replace(config, loop=replace(config.loop, iterations=5))).train
    assert [task.id for task in longer.explored(2)] == explored[2]


def test_several_sets_have_each_their_share_of_fresh_tasks() -> None:
    tasks = [[Task(f"{name}{i}", "", 0) for i in range(4)] for name in "ab"]
    fresh = NewTasks(tasks, iterations=2)
    assert [task.id for task in fresh.explored(1)] == ["a2", "a3", "b2", "b3"]
    assert [task.id for task in fresh.known(0)] == ["a0", "a1", "b0", "b1"]


@pytest.mark.parametrize("name", ["asdiv", "generated:train[:5]"])
def test_only_generated_tasks_can_be_fresh(name: str) -> None:
    with pytest.raises(ConfigError, match=r"tasks\.fresh=True: only generated problems"):
        from_config_dict({"tasks": {"train": (name,), "train_size": 6, "test_size": 6, "fresh": True}})
