"""Tables of a run with many test sets: their mean among the columns, and a table of their own."""

import pytest
from rich.console import Console
from rich.table import Table

from envisions_jax.summary import (
    MOST_COLUMNS,
    cold_start_line,
    final_table,
    iteration_line,
    mean_accuracy,
    table_of_labels,
    table_of_sets,
    table_of_times,
)

NAMES = [f"page-{number}" for number in range(MOST_COLUMNS + 1)]


def base(names: list[str]) -> dict[str, object]:
    """A base record in which the first set is 100 % few-shot, all else 0 %."""
    nothing = dict.fromkeys(names, 0.0)
    accuracy = {"zero_shot": nothing, "few_shot": {**nothing, names[0]: 1.0}}
    return {"kind": "base", "iteration": -1, "accuracy": accuracy}


def text(table: Table) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_many_sets_are_told_as_their_mean_and_in_a_table_of_their_own() -> None:
    records, share = [base(NAMES)], f"{100 / len(NAMES):.1f} %"
    assert NAMES[0] not in text(final_table(records, "run")) and share in text(final_table(records, "run"))
    by_set = table_of_sets(records, "run")
    assert by_set is not None and by_set.row_count == len(NAMES) + 1
    shown = text(by_set)
    assert all(name in shown for name in NAMES) and share in shown and "100.0 %" in shown


def test_few_sets_are_columns() -> None:
    records = [base(NAMES[:-1])]
    assert table_of_sets(records, "run") is None
    assert all(name in text(final_table(records, "run")) for name in NAMES[:-1])


def test_results_fit_into_80_columns_and_numbers_are_never_cut() -> None:
    iteration = {
        "kind": "iteration",
        "iteration": 9,
        "accuracy": {"generated": 0.4321},
        "solved_by_exploration": 377,
        "solved": 396,
        "ea": 0.249,
        "stb": 1.0,
        "margin": 0.123,
        "l1_examples": 1234,
        "l2_examples": 1235,
        "demonstrations": 0,
        "time": {"generate": 3661.0, "train": 59.0, "written": 1.8e9},
    }
    records = [base(["generated"]), iteration]
    for width, console in ((80, Console(width=80)), (40, Console(width=40))):
        with console.capture() as capture:
            console.print(final_table(records, "run"))
            console.print(table_of_times(records, "run"))
        assert "…" not in capture.get()
        if width == 80:
            for number in (
                "43.2 %",
                "377 -> 396",
                "0.249",
                "1.000",
                "0.123",
                "1234+1235",
                "1:01:01",
                "1:02:00",
            ):
                assert number in capture.get()


def test_sets_without_a_verdict_weigh_nothing() -> None:
    assert mean_accuracy({"a": 0.5, "b": None, "c": 1.0}) == pytest.approx(0.75)
    assert mean_accuracy({"a": None}) is None


def started(names: list[str]) -> list[dict[str, object]]:
    """A run's records whose cold start had 64 demonstrations, and answers of three labels."""
    labels = {"True": 0.75, "False": None, "Unknown": 0.125}
    scores = {
        "accuracy": dict.fromkeys(names, 0.5),
        "accuracy_by_label": dict.fromkeys(names, labels),
        "vacuous": dict.fromkeys(names, 17),
        "demonstrations": 64,
    }
    numbers = dict.fromkeys(("solved_by_exploration", "solved", "tasks", "l1_examples", "l2_examples"), 3)
    later = {
        "kind": "iteration",
        "iteration": 0,
        **numbers,
        **dict.fromkeys(("ea", "stb", "margin")),
        **scores,
    }
    return [
        base(names),
        {"kind": "cold_start", "iteration": -2, **scores, "time": {"train": 60.0}},
        {**later, "accuracy": dict.fromkeys(names, 0.625)},
    ]


@pytest.mark.parametrize("names", [["theories"], NAMES])
def test_every_table_tells_how_many_demonstrations_a_run_started_from(names: list[str]) -> None:
    records = started(names)
    tables = [make(records, "run") for make in (final_table, table_of_times, table_of_sets, table_of_labels)]
    shown = [text(table) for table in tables if table is not None]
    assert len(shown) == (4 if len(names) > MOST_COLUMNS else 3)
    for one in shown:
        assert "run, cold start on 64 demonstrations" in " ".join(one.split())
    row = next(line for line in shown[0].splitlines() if "│ cold start " in line)
    assert "50.0 %" in row and "62.5 %" in shown[0]
    without = [record for record in records if record["kind"] != "cold_start"]
    assert "demonstrations" not in text(final_table(without, "run"))


def test_accuracy_by_label_has_a_table_of_its_own() -> None:
    table = table_of_labels(started(["theories", "ruletaker"]), "run")
    assert table is not None and table.row_count == 4  # the base model's records say nothing of labels
    lines = text(table).splitlines()
    heading = next(line for line in lines if "Unknown" in line)
    assert (
        heading.index("False") < heading.index("True") < heading.index("Unknown") < heading.index("vacuous")
    )
    row = next(line for line in lines if "cold start " in line and "ruletaker" in line)
    assert [word for word in ("75.0 %", "12.5 %", " - ", "17") if word not in row] == []
    assert table_of_labels([base(NAMES)], "run") is None


def test_lines_tell_of_demonstrations() -> None:
    _, start, later = started(["theories"])
    assert cold_start_line(start, {"train": 61.0}) == (
        "cold start: trained on 64 demonstrations, accuracy theories 50.0 %, 1:01"
    )
    assert "trained on 64 demonstrations + 3 L1 + 3 L2" in iteration_line(later, 3, {})
    assert "trained on 3 L1 + 3 L2" in iteration_line({**later, "demonstrations": 0}, 3, {})
