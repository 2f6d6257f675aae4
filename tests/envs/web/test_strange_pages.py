"""Whatever a page does, its episode ends in a typed outcome, in time, and the next one is untouched."""

import time

import pytest

from envs import Outcome
from envs.web.environment import WebEnvironment

pytestmark = pytest.mark.browser


def play(environment: WebEnvironment, *buttons: str) -> Outcome:
    """The outcome of clicking buttons of the strange page one after the other."""
    task = environment.task("strange", 1)
    program = "\n".join(f"agent.click_xpath(\"//*[@id='{button}']\")" for button in buttons)
    [outcome] = environment.execute([(task, program)])
    return outcome


def test_raw_reward_decides(strange: WebEnvironment) -> None:
    assert [play(strange, name).kind for name in ("win", "half", "most", "lose")] == [
        *("correct", "wrong", "wrong", "wrong"),
    ]
    assert play(strange, "half").value == 0.5
    assert play(strange, "infinite").value == 0
    assert play(strange, "alert").value is None


def test_the_authors_rule_is_an_option(strange_pages: object) -> None:
    with WebEnvironment(workers=1, pages=str(strange_pages), success="above_0.8") as environment:
        assert [play(environment, name).kind for name in ("half", "most")] == ["wrong", "correct"]


def test_nothing_happens_after_the_end(strange: WebEnvironment) -> None:
    outcome = play(strange, "win", "lose", "leave")
    assert outcome.kind == "correct" and len(outcome.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("button", "note"),
    [
        ("alert", "the page showed a dialog, which was dismissed: look here"),
        ("confirm", "dismissed: really?"),
        ("prompt", "dismissed: who?"),
        ("popup", "the page opened a window, which was closed"),
        ("download", "the page offered a download: refused"),
        ("fetch", "a request was refused: http://example.com/"),
        ("unload", "the page showed a dialog, which was dismissed"),  # and so the page stays
    ],
)
def test_what_can_be_refused_is_and_the_episode_goes_on(
    strange: WebEnvironment, button: str, note: str
) -> None:
    outcome = play(strange, button, "throw", "throw", "win")  # what it did is told a moment later
    assert outcome.kind == "correct" and note in outcome.error
    alone = play(strange, button)
    assert alone.kind == "wrong" and "the episode was not over" in alone.error


@pytest.mark.parametrize(
    ("button", "kind", "note"),
    [
        ("leave", "error", "the page was left for file://"),
        ("away", "error", "the page was left for"),
        ("passwd", "error", "the page was left for"),
        ("hang", "timeout", "the page did not react any more"),
        ("memory", "infrastructure", "the browser was lost"),
    ],
)
def test_what_ends_an_episode_is_told_and_harms_no_other(
    strange: WebEnvironment, button: str, kind: str, note: str
) -> None:
    begin = time.monotonic()
    outcome = play(strange, button, *["throw"] * 5, "win")  # a page is not left at once
    assert outcome.kind == kind and note in outcome.error
    assert time.monotonic() - begin < 120
    assert play(strange, "win").kind == "correct"


def test_a_page_that_leaves_after_its_episode_harms_no_other(strange: WebEnvironment) -> None:
    assert play(strange, "later").kind == "wrong"
    time.sleep(0.5)  # until it is gone
    assert play(strange, "win").kind == "correct"


def test_a_thrown_error_and_endless_timers_are_the_pages_own_affair(strange: WebEnvironment) -> None:
    assert play(strange, "throw", "endless", "win").kind == "correct"


def test_chromium_lets_no_page_close_itself(strange: WebEnvironment) -> None:
    assert play(strange, "close", "win").kind == "correct"


def test_a_socket_reaches_nothing(strange: WebEnvironment) -> None:
    assert play(strange, "socket", "win").kind == "correct"


def test_an_episode_that_takes_too_long_is_a_timeout(strange: WebEnvironment) -> None:
    task = strange.task("strange", 1)
    slow = "for i in range(190):\n    agent.type('" + "x" * 1_900 + "')\n"
    [outcome] = strange.execute([(task, slow)])
    assert outcome.kind == "timeout" and "not over after 3 s" in outcome.error
    assert outcome.seconds < 10


def test_how_an_episode_ended_is_told_after_however_many_notes(strange: WebEnvironment) -> None:
    task = strange.task("strange", 1)
    program = "for i in range(50):\n    agent.click_xpath(f'//nothing{i}')\n"
    [outcome] = strange.execute([(task, program)])
    assert outcome.kind == "wrong" and len(outcome.error) <= 500
    assert outcome.error.startswith("line 2: agent.click_xpath('//nothing0'): nothing on the page matches; ")
    assert outcome.error.endswith(" …; the episode was not over at the program's end")


def test_what_happened_again_and_again_is_told_once(strange: WebEnvironment) -> None:
    program = "for i in range(50):\n    agent.click_xpath('//nothing')\n"
    [outcome] = strange.execute([(strange.task("strange", 1), program)])
    what = "line 2: agent.click_xpath('//nothing'): nothing on the page matches (50 times)"
    assert outcome.error == f"{what}; the episode was not over at the program's end"
