"""Pictures of episodes: the page before and after its program."""

import struct
from pathlib import Path

import pytest

from envisions_jax.prompts import Prompts
from envisions_jax.stages.evaluation import Answered, Test, filed
from envs.web.environment import WebEnvironment

pytestmark = pytest.mark.browser
CHECK = "agent.click_xpath(\"(//input[@type='checkbox'])[1]\")"


def size(picture: bytes) -> tuple[int, int]:
    """Width and height of a PNG file."""
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", picture[16:24])  # type: ignore[return-value]


def test_the_page_before_and_after(web: WebEnvironment) -> None:
    task = web.task("click-checkboxes", 3)
    pictured = web.with_screenshots()
    [nothing, ticked, solved] = pictured.execute(
        [
            (task, "agent.click_xpath('//nothing')"),
            (task, CHECK),
            (web.task("click-test", 1), "agent.click_xpath('//button')"),
        ]
    )
    for outcome in (nothing, ticked, solved):
        assert [size(picture) for picture in outcome.pictures] == [(160, 210)] * 2
    assert nothing.pictures[0] == nothing.pictures[1] == ticked.pictures[0]
    assert ticked.pictures[1] != ticked.pictures[0]
    assert solved.correct


def test_there_are_none_unless_they_are_asked_for(web: WebEnvironment) -> None:
    task = web.task("click-checkboxes", 3)
    [outcome] = web.execute([(task, CHECK)])
    assert outcome.pictures == ()
    with web.with_screenshots() as pictured:
        assert next(iter(pictured.execute([(task, "import os")]))).pictures == ()  # there was no episode
    assert web.task("click-checkboxes", 3) == task, "closing the view closes nothing"


def test_an_evaluation_keeps_them_as_files(web: WebEnvironment, tmp_path: Path) -> None:
    tests = [Test("click-test", web.task("click-test", seed)) for seed in (1, 2)]
    completions = ["\nagent.click_xpath('//button')", "no program"]
    pictured, album = web.with_screenshots(), tmp_path / "album"
    prompts = Prompts("web", {})
    programs = [prompts.program_of(completion) for completion in completions]
    outcomes = pictured.execute([(test.task, text) for test, text in zip(tests, programs, strict=True)])
    answers = [Answered(*answer) for answer in zip(completions, outcomes, strict=True)]
    results = filed(prompts, tests, answers, 0, "zero_shot", album)
    assert [result.outcome for result in results] == ["correct", "invalid"]
    assert sorted(path.name for path in album.iterdir()) == [
        "click-test-1-after.png",
        "click-test-1-before.png",
    ]
    assert all(size(path.read_bytes()) == (160, 210) for path in album.iterdir())
