"""An instance is (page, seed): the same text for every worker, in every order, after whatever came before."""

import re
from collections.abc import Iterator

import pytest

from envs import Task
from envs.web.environment import WebEnvironment
from envs.web.pages import PAPER_TASKS, TEST_SEEDS, training_seeds
from tests.envs.web.conftest import INSTANCES

pytestmark = pytest.mark.browser

# Pages whose problems differ in nothing but where things stand, or what is hidden.
SAME_TEXT = ("click-button-sequence", "click-test", "click-test-2", "focus-text", "guess-number")


def test_every_observation_again_on_two_workers_backwards_and_after_actions(seen: dict[str, Task]) -> None:
    with WebEnvironment(workers=2) as environment:
        for again in environment.tasks(reversed(INSTANCES)):
            assert again == seen[again.id]
        some = INSTANCES[::4]
        played = ((seen[f"{page}/{seed}"], _random_program(seed)) for page, seed in some)
        for _ in environment.execute(played):
            pass
        for again in environment.tasks(some):
            assert again == seen[again.id]


def _random_program(number: int) -> str:
    """Something that changes a page: fields filled, boxes ticked, things scrolled and left half done."""
    targets = ("//input", "//button", "//select/option[2]", "//textarea", "//a", "//h3", "//span", "//li")
    clicks = [f'agent.click_xpath("({targets[(number + i) % len(targets)]})[1]")' for i in range(3)]
    return "\n".join([clicks[0], 'agent.type("7x")', clicks[1], 'agent.press("tab")', clicks[2]])


def test_the_question_says_what_to_do_and_what_there_is(seen: dict[str, Task]) -> None:
    for task in seen.values():
        *lines, last = task.question.split("\n")
        assert last == f"Task: {task.meta['utterance']}" and task.meta["utterance"]
        assert lines and all(re.match(r" *<[a-z]|…", line) for line in lines)
        assert task.id == f"{task.meta['page']}/{task.meta['seed']}"


@pytest.mark.parametrize(
    ("noise", "pages"),
    [("reward-display", PAPER_TASKS), ("sync-task-cover", PAPER_TASKS), ("wob_ref", PAPER_TASKS)],
)
def test_what_is_no_part_of_the_task_is_not_shown(
    seen: dict[str, Task], noise: str, pages: tuple[str, ...]
) -> None:
    for task in seen.values():
        assert noise not in task.question
        assert noise not in task.meta["html"]


def test_seeds_make_different_problems(seen: dict[str, Task]) -> None:
    for page in PAPER_TASKS:
        different = {seen[f"{page}/{seed}"].question for seed in range(20)}
        assert len(different) >= 3 or page in SAME_TEXT, page


def test_a_dialog_outside_the_tasks_area_is_seen(seen: dict[str, Task]) -> None:
    assert 'title="Close"' in seen["click-dialog/3"].question
    assert "ui-resizable" not in seen["click-dialog/3"].question


def test_hidden_elements_are_not_shown_and_the_markup_has_them(seen: dict[str, Task]) -> None:
    task = seen["guess-number/0"]
    assert "higher" not in task.question and "higher" in task.meta["html"]


@pytest.fixture
def small() -> Iterator[WebEnvironment]:
    with WebEnvironment(workers=1, most_characters=300) as environment:
        yield environment


def test_a_long_page_is_cut_at_the_end_of_a_line(small: WebEnvironment, seen: dict[str, Task]) -> None:
    *lines, asked = seen["social-media-all/1"].question.split("\n")
    *kept, rest, still_asked = small.task("social-media-all", 1).question.split("\n")
    assert kept == lines[: len(kept)] and still_asked == asked
    assert re.fullmatch(r"… \d+ more lines", rest) and len(kept) + int(rest.split()[1]) == len(lines)
    assert len("\n".join(kept)) <= 300


def test_the_markup_as_the_authors_used_it_is_an_option(seen: dict[str, Task]) -> None:
    with WebEnvironment(workers=1, observation="html") as environment:
        task = environment.task("click-test", 1)
    assert '<div id="wrap">' in task.question
    assert task.meta == seen["click-test/1"].meta


def test_seeds_of_training_and_test_never_meet() -> None:
    trained = [seed for iteration in range(10) for seed in training_seeds(iteration)]
    assert trained == list(range(500)) and list(TEST_SEEDS) == list(range(10_000, 10_030))
