"""The few-shot demonstrations of the math domain: three solved problems of our own, for every prompt style.

The paper shows three math examples at iteration 0 (section 3.1). They use no name and no story of the
generated problems, and tests execute every one of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Demonstration:
    """A question with its answer and, for every prompt style by name, a completion's body that solves it."""

    question: str
    answer: int
    bodies: Mapping[str, str]


def _demonstration(question: str, answer: int, expression: str, lines: str) -> Demonstration:
    """`lines`: the assignments of the long form, one a line, the last one to `result`."""
    body = [f'"""{question}"""', *lines.splitlines(), "return result"]
    function = "\n".join(["def solution():", *(f"    {line}" for line in body)])
    return Demonstration(
        question, answer, {"expression": expression, "function": expression, "pal": function}
    )


MATH_DEMONSTRATIONS: tuple[Demonstration, ...] = (
    _demonstration(
        "Mia has 15 red beads and 8 blue beads. How many beads does Mia have?",
        23,
        "15 + 8",
        "red_beads = 15\nblue_beads = 8\nresult = red_beads + blue_beads",
    ),
    _demonstration(
        "Tom buys 3 books for 7 dollars each. He pays with 50 dollars. How many dollars does Tom get back?",
        29,
        "50 - 3 * 7",
        "books = 3\nprice = 7\npaid = 50\ncost = books * price\nresult = paid - cost",
    ),
    _demonstration(
        "A class of 26 children and 4 teachers makes 5 equal groups. How many people are in each group?",
        6,
        "(26 + 4) / 5",
        "children = 26\nteachers = 4\ngroups = 5\npeople = children + teachers\nresult = people / groups",
    ),
)
