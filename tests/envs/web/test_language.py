"""The language of web programs: what is one, what it does in which order, and that nothing else passes."""

import pytest

from envs.web.language import MOST_ACTIONS, MOST_ARGUMENT, MOST_ROUNDS, MOST_TEXT, ProgramError, read_program


def actions(text: str) -> list[tuple[str, str]]:
    return [(action.kind, action.argument) for action in read_program(text)]


def test_each_action_with_its_argument_and_line() -> None:
    program = """
agent.click_xpath("//*[@id='tt']")
agent.type("Ann")   # the name

agent.press("enter")
agent.click_option('//option[text()="B"]'); agent.movemouse("//div")
"""
    assert [(action.kind, action.argument, action.line) for action in read_program(program)] == [
        ("click_xpath", "//*[@id='tt']", 1),
        ("type", "Ann", 2),
        ("press", "enter", 4),
        ("click_option", '//option[text()="B"]', 5),
        ("movemouse", "//div", 5),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "```\nagent.type('a')\n```",
        "```python\nagent.type('a')",
        "Here it is:\n```py\nagent.type('a')\n```\nThat types a.",
        "# first a comment\n\nagent.type('a')",
        "agent.type(text='a')",
        "\r\nagent.type('a')\r\n",
    ],
)
def test_fences_comments_blank_lines_and_keywords_are_fine(text: str) -> None:
    assert actions(text) == [("type", "a")]


def test_loops_are_unrolled_in_order() -> None:
    program = """
for name in ["a", "b"]:
    agent.click_xpath(f"//label[text()='{name}']")
    for i in range(3, 0, -2):
        agent.type(name + "!")
        agent.press("tab")
for _ in range(2):
    agent.press("arrowup")
"""
    inner = [("type", "{}!"), ("press", "tab")] * 2
    expected = []
    for name in "ab":
        expected.append(("click_xpath", f"//label[text()='{name}']"))
        expected += [(kind, argument.format(name)) for kind, argument in inner]
    assert actions(program) == [*expected, ("press", "arrowup"), ("press", "arrowup")]


def test_numbers_become_text_as_python_writes_them() -> None:
    program = "agent.type(7)\nagent.type(-2.5)\nfor i in range(1, 3):\n    agent.click_xpath(f'//li[{i}]')"
    assert actions(program) == [
        ("type", "7"),
        ("type", "-2.5"),
        ("click_xpath", "//li[1]"),
        ("click_xpath", "//li[2]"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no action"),
        ("# nothing\n", "no action"),
        ("I would click the button.", "line 1: "),
        ("agent.type('a'", "line 1: "),
        ("agent.type('a')\nimport os", "line 2: only agent actions"),
        ("agent.click_xpaht('//a')", "did you mean 'click_xpath'?"),
        ("agent.scroll('//a')", "agent cannot 'scroll'"),
        ("agent.press('enterr')", "did you mean 'enter'?"),
        ("agent.press('F13')", "there is no key 'F13'"),
        ("agent.type()", "takes one argument, text"),
        ("agent.type('a', 'b')", "takes one argument, text"),
        ("agent.type(xpath='a')", "takes one argument, text"),
        ("agent.type('a', text='b')", "takes one argument, text"),
        ("agent.type(*['a'])", "an argument is"),
        ("agent.type(**{'text': 'a'})", "takes one argument, text"),
        ("agent.type(True)", "an argument is"),
        ("agent.type(None)", "an argument is"),
        ("agent.type(b'a')", "an argument is"),
        ("agent.type(name)", "an argument is"),
        ("agent.type('a' * 3)", "an argument is"),
        ("agent.type('a' + 3)", "an argument is"),
        ("agent.type(f'{1!r}')", "names alone in its braces"),
        ("agent.type(f'{1:99999999d}')", "names alone in its braces"),
        ("x = 1\nagent.type('a')", "line 1: only agent actions"),
        ("for x in 'abc':\n    agent.type(x)", "a loop goes over"),
        ("for x, y in [(1, 2)]:\n    agent.type(x)", "a loop has one name"),
        ("for x in [1]:\n    agent.type(x)\nelse:\n    agent.type(2)", "a loop has one name"),
        ("for x in range(1, 2, 0):\n    agent.type(x)", "range takes"),
        ("for x in range(1.5):\n    agent.type(x)", "range takes"),
        ("for x in range('3'):\n    agent.type(x)", "range takes"),
        ("for x in range():\n    agent.type(x)", "range takes"),
        ("while True:\n    agent.type('a')", "only agent actions"),
        ("def f():\n    agent.type('a')", "only agent actions"),
        ("other.type('a')", "call of agent"),
        ("agent.type", "call of agent"),
        ("agent.type('a').x", "call of agent"),
        ("agent.a.type('a')", "call of agent"),
        ("agent.type('a\0')", "cannot be parsed"),
        ("agent.type('\ud800')", "cannot be parsed"),
    ],
)
def test_what_is_no_program_is_refused_with_the_line_and_the_reason(text: str, message: str) -> None:
    with pytest.raises(ProgramError) as error:
        read_program(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#" * (MOST_TEXT + 1), f"at most {MOST_TEXT} characters"),
        (f"agent.type('{'a' * (MOST_ARGUMENT + 1)}')", f"at most {MOST_ARGUMENT} characters"),
        (f"for i in range({MOST_ACTIONS + 1}):\n    agent.type(i)", f"at most {MOST_ACTIONS} actions"),
        ("for i in range(10 ** 9):\n    agent.type(i)", "an argument is"),
        ("for i in range(1000000000):\n    agent.type(i)", f"at most {MOST_ACTIONS} actions"),
        (
            "for i in range(10000):\n    for j in range(9):\n        for k in []:\n            agent.type(k)",
            f"{MOST_ROUNDS} times",
        ),
        ("agent.type(" + "(" * 1_000 + "'a'" + ")" * 1_000 + ")", "."),
        ("agent.type(" + "'a'+" * 4_000 + "'a')", "."),
        ("agent.type(" + "-" * 10_000 + "1)", "."),
        ("agent.type(" + "9" * 10_000 + ")", "."),
        ("for x in " + "[" * 3_000 + "]" * 3_000 + ":\n    agent.type('a')", "."),
    ],
)
def test_budgets_hold(text: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        read_program(text)


def test_doubling_a_text_in_loops_stays_within_the_budget() -> None:
    loops = "for b in [a + a]:\n        for c in [b + b]:\n            agent.type(c)"
    with pytest.raises(ProgramError, match=f"at most {MOST_ARGUMENT} characters"):
        read_program(f"for a in ['{'x' * 1_000}']:\n    {loops}")


def test_an_action_is_told_in_a_line_of_some_length() -> None:
    short, long = read_program("agent.press('enter')\nagent.type('" + "x" * 1_900 + "')")
    assert str(short) == "agent.press('enter')"
    assert str(long) == f"agent.type('{'x' * 100}…')"
