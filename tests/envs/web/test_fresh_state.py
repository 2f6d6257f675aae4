"""What an episode leaves behind: nothing that another could find, though its page is not loaded anew."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Playwright, sync_playwright

from envs.web.chromium import find_chromium
from envs.web.environment import WebEnvironment
from envs.web.episodes import Job
from envs.web.language import KEYS
from envs.web.pages import PAPER_TASKS, Pages
from envs.web.server import Server
from envs.web.settings import WebSettings

pytestmark = pytest.mark.browser
_TAGS = ("input", "button", "select", "option", "textarea", "a", "h3", "span", "li", "label", "div", "circle")
_TEXTS = ("7", "ab c", "10/10/2016", "0720PM", "<b>")
_PASTE = """agent.click_xpath("//*[@id='answer-input']")
agent.press("control+v")
agent.click_xpath("//*[@id='subbtn']")"""
_COPY = """agent.click_xpath("//textarea")
agent.press("control+a")
agent.press("control+c")
"""


def random_program(rng: random.Random) -> str:
    """A few actions on whatever is there."""
    return "\n".join(_random_action(rng) for _ in range(rng.randint(2, 7)))


def _random_action(rng: random.Random) -> str:
    any_of_a_tag = f"(//{rng.choice(_TAGS)})[{rng.randint(1, 6)}]"
    anything = f"(//*[@id='area']//*)[{rng.randint(1, 25)}]"
    beside = f"(//body/*[not(@id='wrap')]//*)[{rng.randint(1, 30)}]"
    xpath = rng.choices((any_of_a_tag, anything, beside), (5, 4, 1))[0]
    actions = (
        f'agent.click_xpath("{xpath}")',
        f'agent.click_option("(//option)[{rng.randint(1, 8)}]")',
        f'agent.movemouse("{xpath}")',
        f"agent.type({rng.choice(_TEXTS)!r})",
        f"agent.press({rng.choice(sorted(KEYS))!r})",
    )
    return rng.choices(actions, (55, 7, 8, 15, 15))[0]


@contextmanager
def server(
    playwright: Playwright, reload_after: int, has_own_network: bool, pages: str = ""
) -> Iterator[Server]:
    settings = WebSettings(
        find_chromium(), pages or str(Pages().folder), time_limit_s=30, reload_after=reload_after
    )
    serving = Server(settings, playwright, has_own_network=has_own_network)
    try:
        yield serving
    finally:
        serving.stop()


def test_an_episode_on_a_used_page_is_as_on_a_new_one() -> None:
    """Random programs, their effects, rewards and what they leave to see: always loaded anew, and never.

    The first by Playwright alone, as where the host gives a worker no network of its own.
    """
    jobs = []
    for page in PAPER_TASKS:
        for number in range(3):
            rng = random.Random(f"{page}{number}")
            seed = rng.randint(0, 3)
            jobs.append(Job(page, seed, program=random_program(rng), observe=True))
    with (
        sync_playwright() as playwright,
        server(playwright, 1, False) as new,
        server(playwright, 10**6, True) as used,
    ):
        for job in jobs:
            answers = [vars(one.run(job)) | {"seconds": 0.0} for one in (new, used)]
            assert answers[0] == answers[1], f"{job.page}/{job.seed}\n{job.program}"


@pytest.mark.parametrize(
    "deeds, told",
    [
        (["popup"], ["the page opened a window, which was closed"]),
        (["alert", "confirm"], ["look here", "really?"]),
        (["blank"], ["the page was left for about:blank"]),
    ],
)
def test_what_a_page_did_last_is_told_of_its_own_episode(
    strange_pages: Path, deeds: list[str], told: list[str]
) -> None:
    """Either way, time and again; and nothing of it with an episode after it."""
    program = "\n".join(f"agent.click_xpath(\"//*[@id='{deed}']\")" for deed in deeds)
    deed, other = (Job("strange", 1, program=text) for text in (program, "agent.press('tab')"))
    with sync_playwright() as playwright:
        for has_own_network in (False, True):
            with server(playwright, 10**6, has_own_network, str(strange_pages)) as one:
                for _ in range(10):
                    notes = one.run(deed).notes
                    assert len(notes) == len(told), notes
                    assert all(words in note for words, note in zip(told, notes, strict=True)), notes
                    assert one.run(other).notes == []


def test_nothing_copied_is_there_to_paste_in_the_next_episode(web: WebEnvironment) -> None:
    task = web.task("copy-paste", 1)
    copied, pasted = web.execute([(task, _COPY + _PASTE), (task, _PASTE)])
    assert copied.kind == "correct"
    assert pasted.kind == "wrong" and pasted.value == -1


def test_an_xpath_finds_nothing_of_what_tells_of_other_episodes(web: WebEnvironment) -> None:
    task = web.task("click-test", 1)
    furniture = ("reward-display", "sync-task-cover", "click-canvas", "query")
    programs = [f"agent.click_xpath(\"//*[@id='{name}']\")" for name in furniture]
    for outcome in web.execute([(task, program) for program in programs]):
        assert "nothing on the page matches" in outcome.error


def test_icons_are_there_from_a_browsers_first_episode() -> None:
    """What a style makes of a picture has no size, and cannot be clicked, until the picture is there."""
    click = "agent.click_xpath(\"(//span[@class='{}'])[1]\")".format
    jobs = {"email-inbox-delete": "trash", "email-inbox-star-reply": "star", "social-media": "more"}
    with sync_playwright() as playwright:
        for page, icon in jobs.items():
            with server(playwright, 10**6, True) as fresh:
                first = fresh.run(Job(page, 3, program=click(icon)))
            assert first.notes == [] and "clicked" in first.effects[0], (page, first)
