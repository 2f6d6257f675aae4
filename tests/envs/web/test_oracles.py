"""Every page of the paper can be solved by one program that is written after one look."""

import pytest

from envs import Task
from envs.web.environment import WebEnvironment
from envs.web.pages import PAPER_TASKS
from tests.envs.web.oracles import IMPOSSIBLE_OPEN_LOOP, ORACLES

SEEDS = range(20)
MOST_FAILURES = 1


def test_every_page_of_the_paper_has_an_oracle_or_a_reason() -> None:
    assert sorted([*ORACLES, *IMPOSSIBLE_OPEN_LOOP]) == sorted(PAPER_TASKS)


@pytest.mark.browser
@pytest.mark.parametrize("page", ORACLES)
def test_the_oracle_solves_the_page(web: WebEnvironment, seen: dict[str, Task], page: str) -> None:
    tasks = [seen[f"{page}/{seed}"] for seed in SEEDS]
    programs = [(task, ORACLES[page](task)) for task in tasks]
    failures = [
        f"{task.id} is {outcome.kind}: {outcome.error}\n{task.meta['utterance']}\n{program}"
        for (task, program), outcome in zip(programs, web.execute(programs), strict=True)
        if not outcome.correct
    ]
    assert len(failures) <= MOST_FAILURES, "\n\n".join(failures)
