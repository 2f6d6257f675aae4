"""Gold translations of whole data sets give their labels, by both engines; none is called vacuous."""

from collections import Counter
from pathlib import Path

import pytest

import envs
from tests.envs.logic.gold import PROOFWRITER, RULETAKER, gold_programs

_ROWS = {
    PROOFWRITER: {"True": 1200, "False": 1200, "Unknown": 1200},
    RULETAKER: {"True": 504, "False": 496},
}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["forward", "pyke"])
@pytest.mark.parametrize(("name", "asked"), [(PROOFWRITER, 0.995), (RULETAKER, 0.98)])
def test_gold_programs_reproduce_the_labels(shared_data: Path, name: str, asked: float, engine: str) -> None:
    cases = gold_programs(shared_data, name)
    assert Counter(case.task.answer for case in cases) == _ROWS[name]
    with envs.make("logic", engine=engine, workers=2) as environment:
        outcomes = list(environment.execute((case.task, str(case.program)) for case in cases))
    misses = [
        f"{case.task.id}: {case.task.answer}, got {outcome.kind} {outcome.value} {outcome.error}"
        for case, outcome in zip(cases, outcomes, strict=True)
        if not outcome.correct
    ]
    right = Counter(
        case.task.answer for case, outcome in zip(cases, outcomes, strict=True) if outcome.correct
    )
    print(f"{name} by {engine}: {dict(right)}; misses: {misses}")
    for answer, rows in _ROWS[name].items():
        assert right[answer] >= asked * rows, "\n".join(misses)
    assert not [outcome for outcome in outcomes if outcome.kind not in ("correct", "wrong")]
