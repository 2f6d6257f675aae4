"""What the web benchmark does to a page, on either side."""

import pytest

from benchmarks.web import program
from benchmarks.web_peers.play import Step, steps
from envs.web.language import read_program

BOXES = "Select {} and click Submit."
SEARCH = 'Use the textbox to enter "Ann" and press "Search", then find and click the {} search result.'


@pytest.mark.parametrize(
    ("page", "utterance", "expected"),
    [
        ("click-test", "Click the button.", [Step("button")]),
        ("click-checkboxes", BOXES.format("nothing"), [Step("button", "Submit")]),
        ("click-checkboxes", BOXES.format("a, B c"), [Step("checkbox", "a"), Step("checkbox", "B c")]),
        ("search-engine", SEARCH.format("1st"), [Step("button", "Search"), Step("result", nth=0)]),
        ("search-engine", SEARCH.format("3rd"), [Step("button", "Search"), Step("result", nth=2)]),
        ("search-engine", SEARCH.format("7th"), [Step("a", "3"), Step("result", nth=0)]),
        ("search-engine", SEARCH.format("6th"), [Step("a", "2"), Step("result", nth=2)]),
    ],
)
def test_steps_follow_from_the_utterance(page: str, utterance: str, expected: list[Step]) -> None:
    found = steps(page, utterance)
    if page == "click-checkboxes" and len(expected) > 1:
        expected = [*expected, Step("button", "Submit")]
    if page == "search-engine":
        assert found[0] == Step("field", typed="Ann")
        found = found[-len(expected) :]
    assert found == expected


def test_a_program_is_the_same_steps_in_our_language() -> None:
    text = program("search-engine", SEARCH.format("5th"))
    assert [action.kind for action in read_program(text)] == ["click_xpath", "type", *["click_xpath"] * 3]
    assert text.endswith('[2]")')
