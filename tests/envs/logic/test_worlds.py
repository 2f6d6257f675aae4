"""Small theories with known answers, in both worlds and by both engines; vacuous programs; depth; budgets."""

import re
import time

import pytest

from envs.logic import forward
from envs.logic.language import Program, parse
from envs.logic.theory import MOST_DERIVED, OutOfBudget, World, number
from envs.logic.worlds import is_vacuous
from tests.envs.logic.engines import ENGINES, findings, truth
from tests.envs.logic.grounded import grounded_answer
from tests.envs.logic.theories import random_cases


def program(facts: str, rules: str, query: str) -> Program:
    """Statements of a section are parted by `;`. In short: `~A(a) & B(a) => C(a)` for
    `A(a, False) && B(a, True) >>> C(a, True)`.
    """
    lines = ["Facts:", *facts.split(";"), "Rules:", *rules.split(";"), "Query:", query]
    text = "\n".join(lines).replace("=>", ">>>").replace("&", "&&")
    return parse(re.sub(r"(~?)(\w+)\(([^)]*)\)", _in_full, text))


def _in_full(short: re.Match[str]) -> str:
    arguments = [short[3]] if short[3] else []
    return f"{short[2]}({', '.join([*arguments, str(not short[1])])})"


_CHAIN = "A($x) => B($x); B($x) => C($x)"
_ABSENCES = "; ".join(f"D($x) & ~P{i}($x) => P{i + 1}($x)" for i in range(4))
_TRANSITIVE = "R($x, $y) & R($y, $z) => R($x, $z)"

OPEN = [
    ("stated", "A(a)", "", "A(a)", "True"),
    ("stated, asked negated", "A(a)", "", "~A(a)", "False"),
    ("negation stated", "~A(a)", "", "A(a)", "False"),
    ("negation stated, asked negated", "~A(a)", "", "~A(a)", "True"),
    ("nothing known", "A(a)", "", "A(b)", "Unknown"),
    ("nothing known, asked negated", "A(a)", "", "~A(b)", "Unknown"),
    ("derived", "A(a)", _CHAIN, "C(a)", "True"),
    ("derived negation", "A(a)", "A($x) => ~B($x)", "B(a)", "False"),
    ("absence is no negation", "A(b)", "~A($x) => B($x)", "B(a)", "Unknown"),
    ("negated premise", "~A(a)", "~A($x) => B($x)", "B(a)", "True"),
    ("conjunction", "A(a); B(a)", "A($x) & B($x) => C($x)", "C(a)", "True"),
    ("half of it", "A(a); B(b)", "A($x) & B($x) => C($x)", "C(a)", "Unknown"),
    ("transitive", "R(a, b); R(b, c); R(c, d)", _TRANSITIVE, "R(a, d)", "True"),
    ("the other way round", "R(a, b); R(b, c)", _TRANSITIVE, "R(c, a)", "Unknown"),
    ("variable twice", "R(a, b); R(b, b)", "R($x, $x) => A($x)", "A(b)", "True"),
    ("variable twice, no", "R(a, b); R(b, b)", "R($x, $x) => A($x)", "A(a)", "Unknown"),
    ("constant in a rule", "R(a, b)", "R($x, b) => ~R(b, $x)", "R(b, a)", "False"),
    ("rule without a variable", "A(a)", "A(a) => A(b)", "A(b)", "True"),
    ("two conclusions", "A(a)", "A($x) => B($x) & ~C($x)", "~C(a)", "True"),
    ("no arguments", "Rains()", "Rains() => Wet(road)", "Wet(road)", "True"),
    ("four arguments", "G(a, b, c, d)", "G($w, $x, $y, $z) => ~G($z, $y, $x, $w)", "~G(d, c, b, a)", "True"),
    ("arities are apart", "A(a)", "", "A(a, a)", "Unknown"),
    ("cycle", "A(a)", _CHAIN + "; C($x) => A($x)", "B(a)", "True"),
    ("contradiction", "A(a); ~A(a)", "", "A(a)", "False"),
    ("contradiction, asked negated", "A(a); ~A(a)", "", "~A(a)", "True"),
    ("derived contradiction", "A(a)", _CHAIN + "; C($x) => ~A($x)", "A(a)", "False"),
    ("contradiction elsewhere", "A(a); ~A(a); B(b)", "", "B(b)", "True"),
]  # fmt: skip
CLOSED = [
    ("stated", "A(a)", "", "A(a)", "True"),
    ("stated, asked negated", "A(a)", "", "~A(a)", "False"),
    ("absent", "A(a)", "", "A(b)", "False"),
    ("absent, asked negated", "A(a)", "", "~A(b)", "True"),
    ("negation stated", "~A(a)", "", "~A(a)", "True"),
    ("failure", "A(a); B(b)", "~A($x) => C($x)", "C(b)", "True"),
    ("no failure", "A(a); B(b)", "~A($x) => C($x)", "C(a)", "False"),
    ("failure beside a premise", "B(a); B(b); A(a)", "B($x) & ~A($x) => C($x)", "C(b)", "True"),
    ("failure of a constant in the query", "B(a)", "~A($x) => C($x)", "C(z)", "True"),
    ("failure in a negated fact", "~A(z); B(a)", "~A($x) & B($y) => D($x, $y)", "D(z, a)", "True"),
    ("failure in a conclusion", "A(a)", "~A($x) => C($x); C($x) => D(a); A(z) => ~B(z)", "D(a)", "True"),
    ("rule without a positive premise", "B(a)", "~A(a) => A(b)", "A(b)", "True"),
    ("failure of what is derived later", "D(a)", "~A($x) => C($x); D($x) => A($x)", "C(a)", "False"),
    ("strata", "D(a)", "D($x) & ~A($x) => B($x); D($x) & ~B($x) => C($x)", "~C(a)", "True"),
    ("absences of absences", "D(a)", _ABSENCES, "P3(a)", "True"),
    ("and of one more", "D(a)", _ABSENCES, "P4(a)", "False"),
    ("two conclusions, one negated", "A(a)", "A($x) => ~B($x) & C($x)", "C(a)", "True"),
    ("a concluded negation changes nothing", "A(a)", "A($x) => ~B($x); ~B($x) => C($x)", "C(a)", "True"),
    ("what follows wins over a stated negation", "A(a); ~B(a)", "A($x) => B($x)", "B(a)", "True"),
    ("it follows if it does not", "A(a)", "~B(a) => B(a)", "B(a)", "False"),
    ("one or the other", "A(a)", "~B(a) => C(a); ~C(a) => B(a)", "B(a)", "False"),
    ("one or the other, asked negated", "A(a)", "~B(a) => C(a); ~C(a) => B(a)", "~B(a)", "True"),
    ("undefined on the way", "A(a)", "~B(a) => B(a); B(a) => C(a); ~D(a) => E(a)", "E(a)", "True"),
]  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("world", "case"),
    [*(("open", case) for case in OPEN), *(("closed", case) for case in CLOSED)],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_known_answers(engine: str, world: World, case: tuple[str, str, str, str, str]) -> None:
    _, facts, rules, query, expected = case
    assert truth(program(facts, rules, query), world, engine) == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_the_engines_say_what_trying_all_constants_says(engine: str) -> None:
    answers = set()
    for case in random_cases(400, seed=1):
        expected = grounded_answer(case.program, case.world)
        assert truth(case.program, case.world, engine) == expected, f"{case.world}:\n{case.program}"
        answers.add((case.world, expected))
    assert len(answers) == 5, "every answer of both worlds occurs"


@pytest.mark.parametrize(
    ("facts", "rules", "query", "open_", "closed"),
    [
        ("", "", "A(a)", True, True),
        ("", "A($x) => B($x)", "B(a)", True, True),
        ("", "~A($x) => B($x)", "B(a)", True, False),
        ("C(c)", "", "A(a)", True, True),
        ("C(c)", "C($x) => D($x)", "A(a)", True, True),
        ("A(a, a)", "", "A(b)", True, True),
        ("C(c)", "", "A(c)", False, False),
        ("C(c)", "D(a) => E(a)", "A(a)", False, False),
        ("C(c)", "A($x) => D($x)", "A(a)", False, False),
        ("C(c)", "D($x) => A($x)", "A(a)", False, False),
        ("A(b)", "", "A(a)", False, False),
        ("~A(b)", "", "A(a)", False, False),
        ("A(a)", "", "A(a)", False, False),
    ],
)  # fmt: skip
def test_vacuous(facts: str, rules: str, query: str, open_: bool, closed: bool) -> None:
    text = program(facts, rules, query)
    for engine in ENGINES:
        assert is_vacuous(text, findings(text, "open", engine)) is open_
        assert is_vacuous(text, findings(text, "closed", engine)) is closed


def test_depth_is_the_least() -> None:
    text = program("A(a); D(a)", _CHAIN + "; D($x) => C($x); C($x) => E($x)", "E(a)")  # fmt: skip
    theory = number(text, "open")
    assert sorted(forward.derive(theory, forward.Budget()).values()) == [0, 0, 1, 1, 2]
    assert forward.derive(theory, forward.Budget())[theory.query] == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_what_grows_without_end_is_stopped(engine: str) -> None:
    constants = "; ".join(f"A(c{n})" for n in range(20))
    rule = "A($x) & A($y) & A($z) => R($x, $y, $z)"
    with pytest.raises(OutOfBudget, match=f"more than {MOST_DERIVED} facts"):
        findings(program(constants, rule, "A(c1)"), "open", engine)
    few = program(constants, "A($x) & A($y) => R($x, $y)", "R(c7, c8)")
    assert truth(few, "open", engine) == "True"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_long_chain_is_followed_to_its_end(engine: str, deep_recursion: None) -> None:
    rules = ";".join(f"P{n}($x) => P{n + 1}($x)" for n in range(1500))
    assert truth(program("P0(a)", rules, "P1500(a)"), "open", engine) == "True"


def test_steps_are_limited() -> None:
    constants = "; ".join(f"A(c{n})" for n in range(60))
    rule = "A($x) & A($y) & A($z) & A($w) => C($x)"
    with pytest.raises(OutOfBudget, match="steps"):
        findings(program(constants, rule, "C(c1)"), "open", "forward")


def test_every_look_at_the_clock_counts() -> None:
    budget = forward.Budget(seconds=0.05)
    with pytest.raises(OutOfBudget, match="time limit"):
        while True:
            budget.spend(1)
            time.sleep(1e-5)


def test_every_rule_that_a_fact_meets_is_a_step() -> None:
    facts, rules = (
        "; ".join(f"A(c{n})" for n in range(50)),
        "; ".join(f"A(d{n}) => B(d{n})" for n in range(50)),
    )
    with pytest.raises(OutOfBudget, match="more than 2000 steps"):
        forward.derive(number(program(facts, rules, "B(c1)"), "open"), forward.Budget(steps=2000))


def test_time_is_limited() -> None:
    constants = "; ".join(f"A(c{n})" for n in range(60))
    rule = "A($x) & A($y) & A($z) & A($w) => C($x)"
    with pytest.raises(OutOfBudget, match="time limit"):
        forward.derive(number(program(constants, rule, "C(c1)"), "open"), forward.Budget(seconds=1e-9))
