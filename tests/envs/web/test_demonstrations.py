"""The demonstrations of the web domain: one a page, on no seed of a run, and each solves its own problem."""

import pytest

from envs.web.demonstrations import DEMONSTRATIONS, WebDemonstration
from envs.web.environment import WebEnvironment
from envs.web.language import read_program
from envs.web.pages import PAPER_TASKS, TEST_SEEDS

FIRST_SEED = 20_000  # 400 iterations of training lie below it


def test_there_is_one_for_each_page_of_the_paper() -> None:
    assert tuple(DEMONSTRATIONS) == PAPER_TASKS
    assert all(page == demonstration.page for page, demonstration in DEMONSTRATIONS.items())


@pytest.mark.parametrize("demonstration", DEMONSTRATIONS.values(), ids=DEMONSTRATIONS)
def test_it_is_of_the_language_and_in_its_plainest_form(demonstration: WebDemonstration) -> None:
    program = demonstration.program
    assert read_program(program)
    assert program == "\n".join(line.rstrip() for line in program.strip().splitlines() if line.strip())
    assert demonstration.seed >= FIRST_SEED > max(TEST_SEEDS)


@pytest.mark.browser
@pytest.mark.parametrize("demonstration", DEMONSTRATIONS.values(), ids=DEMONSTRATIONS)
def test_it_solves_its_own_page(web: WebEnvironment, demonstration: WebDemonstration) -> None:
    task = web.task(demonstration.page, demonstration.seed)
    [outcome] = web.execute([(task, demonstration.program)])
    assert outcome.correct, f"{outcome.kind}: {outcome.error}\n{task.question}\n{demonstration.program}"
