"""Looking again: what a page shows after a program, and pages that are solved with one action a look."""

import re
from collections.abc import Callable

import pytest

from envisions_jax.testing import tiny_tokenizer
from envisions_jax.train_tasks import WebPages
from envs import Task
from envs.web.environment import WebEnvironment
from envs.web.language import join_turns
from tests.envs.web.oracles import click, labelled, lines, press, said, texts, typed

pytestmark = pytest.mark.browser
TURNS = 5


@pytest.fixture(scope="module")
def pages(web: WebEnvironment) -> WebPages:
    return WebPages(web, tiny_tokenizer(), 10_000)


def play(pages: WebPages, task: Task, policy: Callable[[Task], str], turns: int = TURNS) -> list[str]:
    """The turns of an episode in which `policy` sees the page anew each time."""
    done = [policy(task)]
    while len(done) < turns:
        [seen] = pages.go_on([(task, join_turns(done))])
        if seen is None:
            break
        done.append(policy(seen))
    return done


def bisecting() -> Callable[[Task], str]:
    """A policy for guess-number that learns from what the page says of its guesses."""
    low, high = 0, 9

    def guess(task: Task) -> str:
        nonlocal low, high
        if higher := re.search(r"higher than.*?(\d)", task.question, re.DOTALL):
            low = int(higher[1]) + 1
        if lower := re.search(r"lower than.*?(\d)", task.question, re.DOTALL):
            high = int(lower[1]) - 1
        return lines(click("//input"), press("command+a"), typed(str((low + high) // 2)), click("//button"))

    return guess


@pytest.mark.parametrize("seed", range(8))
def test_a_number_is_guessed_from_what_the_page_says(web: WebEnvironment, pages: WebPages, seed: int) -> None:
    task = web.task("guess-number", seed)
    done = play(pages, task, bisecting())
    assert len(done) <= 4, "ten numbers take four guesses"
    [outcome] = web.execute([(task, join_turns(done))])
    assert outcome.correct, outcome


def one_at_a_time(task: Task) -> str:
    """A policy for search-engine: searches, turns the page, or clicks the result, whatever is due."""
    name, number = said(task, r'enter "(.*)" and .* the (\d)\w\w search result')
    page = (int(number) - 1) // 3 + 1
    if "data-result=" not in task.question:
        return lines(click("//input"), typed(name), click("//button[@id='search']"))
    result = f"//a[@data-result='{int(number) - 1}']"
    if f'data-result="{int(number) - 1}"' in task.question:
        return click(result)
    return click(labelled(str(page), "a"))


def opening(task: Task) -> str:
    """A policy for navigate-tree: clicks what is asked for as soon as it is there, else opens the folders."""
    (name,) = said(task, 'item labeled "(.*)"') if 'labeled "' in task.question else said(task, '"(.*)"')
    target = click(f"//span[text()='{name}']")
    return target if name in texts(task, "span") else click("//span[@class='folder']")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("page", "policy"), [("search-engine", one_at_a_time), ("navigate-tree", opening)])
def test_one_step_a_look_solves_what_hides_its_goal(
    web: WebEnvironment, pages: WebPages, page: str, policy: Callable[[Task], str], seed: int
) -> None:
    task = web.task(page, seed)
    done = play(pages, task, policy)
    [outcome] = web.execute([(task, join_turns(done))])
    assert outcome.correct, f"{task.question}\n{done}\n{outcome}"


def test_a_task_goes_on_with_what_was_done_and_the_page_as_it_is(
    web: WebEnvironment, pages: WebPages
) -> None:
    task = web.task("guess-number", 1)
    tried = lines("# a first guess", click("//input"), typed("9"), click("//button"))
    [seen] = pages.go_on([(task, tried)])
    assert seen is not None and seen.id == task.id and seen.meta == task.meta
    page, end = seen.question.split(f"\nTask: {task.meta['utterance']}\n")
    assert end.split("\n") == ["Done so far:", *tried.split("\n")]
    assert "lower than" in page and "lower than" not in task.question
    [again] = pages.go_on([(task, tried)])
    assert again == seen, "the same program shows the same page"


def test_there_is_no_next_turn_where_nothing_is_left_to_do(web: WebEnvironment, pages: WebPages) -> None:
    task, press_tab = web.task("click-button-sequence", 0), press("tab")
    one, two = click("//button[text()='ONE']"), click("//button[text()='TWO']")
    programs = [
        lines(one, two),  # solved
        lines(two, two),  # lost
        "say nothing",  # no program
        join_turns([one, ""]),  # does nothing more
        join_turns([one, "# done"]),
    ]
    assert pages.go_on([(task, program) for program in programs]) == [None] * len(programs)
    going = pages.go_on([(task, program) for program in (one, click("//nothing"), press_tab)])
    assert all(seen is not None for seen in going)
    assert pages.go_on([]) == []


def test_what_was_done_takes_half_of_the_tokens_at_most(web: WebEnvironment) -> None:
    task, tokenizer = web.task("guess-number", 1), tiny_tokenizer()
    tried = lines(*(typed(str(number)) for number in range(40)))
    [seen] = WebPages(web, tokenizer, 400).go_on([(task, tried)])
    assert seen is not None
    shown = seen.question.split("\n")
    [first, *_] = shown[shown.index("Done so far:") + 1 :]
    assert re.fullmatch(r"… \d+ earlier lines", first) and shown[-1] == typed("39")
    assert any(line.startswith("<") for line in shown), "the page still has room"
    assert len(tokenizer.encode(seen.question, bos=False)) <= 400


def test_a_turn_that_is_no_program_leaves_the_whole_none(web: WebEnvironment) -> None:
    task = web.task("click-button-sequence", 0)
    [outcome] = web.execute([(task, join_turns([click("//button[text()='ONE']"), "and so on ("]))])
    assert outcome.kind == "invalid"
