"""Sets that go together: no task twice, none both trained on and tested on."""

import pytest

from envisions_jax.config_rules import ConfigError
from envisions_jax.task_sets import check_sets
from envs import Task

ONE, TWO = Task("1", "1 and 1?", 2), Task("2", "1 and 2?", 3)


def test_sets_that_share_nothing_are_fine() -> None:
    check_sets({"asdiv:all[:1]": [ONE]}, {"asdiv": [TWO], "svamp": [Task("1", "9 and 9?", 18)]})


def test_a_published_set_may_hold_a_question_in_both_of_its_splits() -> None:
    check_sets({"math": [ONE]}, {"math": [Task("7", ONE.question, 2)]})


@pytest.mark.parametrize("again", [ONE, Task("1", "another?", 5)])
def test_one_id_is_one_task_to_train_on(again: Task) -> None:
    with pytest.raises(ConfigError, match=r"tasks.train: id 1 is in asdiv and again in svamp"):
        check_sets({"asdiv": [ONE], "svamp": [again]}, {})


def test_what_is_trained_on_is_not_tested_on() -> None:
    with pytest.raises(ConfigError, match=r"2 of asdiv is also trained on, as 2 of asdiv:all\[:2\]"):
        check_sets({"asdiv:all[:2]": [ONE, TWO]}, {"asdiv": [TWO]})
    with pytest.raises(ConfigError, match="9 of svamp is also trained on, as 1 of asdiv"):
        check_sets({"asdiv": [ONE]}, {"svamp": [Task("9", ONE.question, 2)]})
