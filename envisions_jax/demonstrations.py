"""The few-shot demonstrations of mathematics and logic: solved tasks of our own, for every prompt style.

The paper shows three math examples and one of logic at iteration 0 (section 3.1). They use no name, no story
and no word of the generated tasks, and tests execute every one of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from envisions_jax.tasks.theories import QUESTIONS
from envisions_jax.tasks.theory_text import short_form
from envs import Task


@dataclass(frozen=True)
class Demonstration:
    """A question with its answer and, for every prompt style by name, a completion's body that solves it."""

    question: str
    answer: int | str
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


def gold_program(task: Task, style: str) -> str:
    """The gold program of a generated task, in a style of its domain. Raises ValueError if it has none."""
    if "program" in task.meta and style in ("logic", "logic_short"):
        program = str(task.meta["program"])
        return program if style == "logic" else short_form(program)
    if "solution" in task.meta and style in ("expression", "function", "pal"):
        solution = task.meta["solution"]
        return f"result = {solution}" if style == "expression" else f"def solution():\n    return {solution}"
    raise ValueError(f"task {task.id}: has no gold program in style {style!r}")


def _theory(context: str, statement: str, answer: str, program: str) -> Demonstration:
    question = f"{context}\n{QUESTIONS['open']} {statement}"
    return Demonstration(question, answer, {"logic": program, "logic_short": short_form(program)})


def of_closed_world(demonstration: Demonstration) -> Demonstration:
    """The same with the question of a closed world, where what does not follow is false."""
    question = demonstration.question.replace(QUESTIONS["open"], QUESTIONS["closed"])
    return replace(demonstration, question=question)


# Attributes and relations, negated and not, a conjunction of both, and a proof of two rules.
LOGIC_DEMONSTRATIONS: tuple[Demonstration, ...] = (
    _theory(
        "Lea is busy. Lea guides Sven. Sven is not lazy. "
        "If someone is busy and they guide Sven then Sven is glad. "
        "If someone is glad and they are not lazy then they do not guide Lea.",
        "Sven guides Lea.",
        "False",
        """Predicates:
Busy($x, bool) ::: Is x busy?
Guides($x, $y, bool) ::: Does x guide y?
Lazy($x, bool) ::: Is x lazy?
Glad($x, bool) ::: Is x glad?
Facts:
Busy(Lea, True) ::: Lea is busy.
Guides(Lea, Sven, True) ::: Lea guides Sven.
Lazy(Sven, False) ::: Sven is not lazy.
Rules:
Busy($x, True) && Guides($x, Sven, True) >>> Glad(Sven, True) ::: If someone is busy and they guide Sven \
then Sven is glad.
Glad($x, True) && Lazy($x, False) >>> Guides($x, Lea, False) ::: If someone is glad and they are not lazy \
then they do not guide Lea.
Query:
Guides(Sven, Lea, True) ::: Sven guides Lea.""",
    ),
)
