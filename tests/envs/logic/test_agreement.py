"""The two engines agree, on random and on gold programs; and no program leaves anything for another one."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest

import envs
from envs.logic import forward, pyke_engine
from envs.logic.language import Program, Rule
from envs.logic.theory import OutOfBudget, World, number
from envs.logic.worlds import find
from tests.envs.logic.engines import by_forward
from tests.envs.logic.gold import PROOFWRITER, RULETAKER, gold_programs
from tests.envs.logic.theories import random_cases

COUNT = 5000
_ANSWERS = {"open": ("True", "False", "Unknown"), "closed": ("True", "False")}
_EXPLOSIVE = "\n".join(
    [
        "Facts:",
        *(f"A(c{n}, True)" for n in range(20)),
        "Rules:",
        "A($x, True) && A($y, True) && A($z, True) >>> R($x, $y, $z, True)",
        "Query:",
        "A(c0, True)",
    ]
)
Job = tuple[envs.Task, str]
Told = tuple[str, object, str]  # an outcome without its time


@pytest.fixture(scope="module")
def cases(shared_data: Path) -> list[tuple[Program, World]]:
    """5,000 random programs and all gold ones."""
    generated = [(case.program, case.world) for case in random_cases(COUNT, seed=0)]
    gold = [*gold_programs(shared_data, PROOFWRITER), *gold_programs(shared_data, RULETAKER)]
    return [*generated, *((case.program, case.world) for case in gold)]


@pytest.fixture(scope="module")
def jobs(cases: list[tuple[Program, World]]) -> list[Job]:
    """With answers by chance, so that every kind of outcome occurs, and some programs that are stopped."""
    random_ = random.Random(0)
    found = []
    for place, (program, world) in enumerate(cases):
        task = envs.Task(str(place), "?", random_.choice(_ANSWERS[world]), meta={"world": world})
        found.append((task, str(program) if place % 100 else str(program) + "\nso it is."))
    bad = envs.Task("explosive", "?", "True", meta={"world": "open"})
    return found + [(bad, _EXPLOSIVE)] * 5


@pytest.fixture(scope="module")
def expected(jobs: list[Job]) -> list[Told]:
    """By `forward`, in order."""
    return _told("forward", jobs)


def _told(engine: str, jobs: list[Job], order: list[int] | None = None) -> list[Told]:
    """Outcomes in the order of `jobs`, run in `order`."""
    order = list(range(len(jobs))) if order is None else order
    found: dict[int, Told] = {}
    with envs.make("logic", engine=engine, workers=2, time_limit_s=20.0) as environment:
        for place, outcome in zip(order, environment.execute(jobs[n] for n in order), strict=True):
            found[place] = (outcome.kind, outcome.value, outcome.error)
    return [found[place] for place in range(len(jobs))]


def _is_recursive(rule: Rule) -> bool:
    premises, conclusions = ({atom.predicate for atom in side} for side in (rule.premises, rule.conclusions))
    return not premises.isdisjoint(conclusions)


def _shuffled(count: int, seed: int) -> list[int]:
    return random.Random(seed).sample(range(count), count)


def test_the_random_theories_are_what_they_should_be(
    cases: list[tuple[Program, World]], expected: list[Told]
) -> None:
    """Every depth, world, kind of outcome, negation, relation and contradiction, in numbers that count."""
    depths: Counter[int] = Counter()
    seen: Counter[str] = Counter()
    for program, world in cases[:COUNT]:
        theory = number(program, world)
        derived = forward.derive(theory, forward.Budget())
        depths[max(derived.get(theory.query, -1), derived.get(theory.opposite, -1))] += 1
        atoms = [a for rule in program.rules for a in (*rule.premises, *rule.conclusions)]
        seen[world] += 1
        seen["negation"] += any(not atom.value for atom in atoms)
        seen["failure"] += theory.has_absent
        seen["relation asked for"] += len(program.query.arguments) > 1
        seen["contradiction"] += theory.query in derived and theory.opposite in derived
        seen["recursion"] += any(_is_recursive(rule) for rule in program.rules)
    assert all(depths[depth] >= 100 for depth in range(6)), depths
    assert all(count >= 100 for count in seen.values()), seen
    assert len(seen) == 7
    kinds = Counter((kind, value) for kind, value, _ in expected)
    for answer in ("True", "False", "Unknown"):
        assert min(kinds["correct", answer], kinds["wrong", answer]) >= 100, kinds
    assert kinds["vacuous", "Unknown"] >= 100, kinds
    assert kinds["invalid", None] >= 50, kinds
    assert kinds["timeout", None] == 5, kinds


def test_programs_run_in_another_order_by_forward_give_the_same(
    jobs: list[Job], expected: list[Told]
) -> None:
    assert _told("forward", jobs, _shuffled(len(jobs), seed=1)) == expected


def test_pyke_in_one_process_finds_the_same_in_any_order(
    cases: list[tuple[Program, World]], deep_recursion: None
) -> None:
    """All in this process, where the first program's rules would answer for the others if any were kept."""
    for place in _shuffled(len(cases), seed=2):
        theory = number(*cases[place])
        found = find(theory, by_forward)
        said = json.loads(pyke_engine.run(theory.to_json()))
        assert said == {"findings": [found.holds, found.opposite_holds, found.is_reached]}, cases[place]


@pytest.mark.slow
def test_pyke_in_two_workers_gives_the_same_outcomes_in_any_order(
    jobs: list[Job], expected: list[Told]
) -> None:
    told = _told("pyke", jobs, _shuffled(len(jobs), seed=3))
    differing = [
        f"{task.meta['world']}, forward {one}, pyke {other}:\n{text}"
        for (task, text), one, other in zip(jobs, expected, told, strict=True)
        if one != other
    ]
    assert not differing, f"{len(differing)} of {len(jobs)} differ; the first:\n{differing[0]}"


def test_an_explosive_program_is_stopped_by_the_same_limit_in_both_engines(expected: list[Told]) -> None:
    assert expected[-1] == ("timeout", None, str(OutOfBudget.too_many_facts()))
