"""A run's numbers for a reader: one line an iteration, and the final table. Reads `metrics.jsonl` only."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from envisions_jax.progress import duration

# Stages in the order in which an iteration goes through them, and what they are called in the table.
STAGES = ("generate", "execute", "score", "train", "evaluate", "compile")

# More sets than this are told as their mean, with a table of their own: so the table of results keeps to 80
# columns, as far as the names of the sets let it.
MOST_COLUMNS = 2
MEAN = "mean"

Record = Mapping[str, Any]


def iteration_line(record: Record, iterations: int, seconds: Mapping[str, float]) -> str:
    """What an iteration did, in one line."""
    return (
        f"iteration {record['iteration'] + 1}/{iterations}: "
        f"solved {record['solved_by_exploration']} -> {record['solved']} of {record['tasks']}, "
        f"trained on {record['l1_examples']} L1 + {record['l2_examples']} L2, "
        f"accuracy {_accuracies(record['accuracy'])}, {duration(sum(seconds.values()))}"
    )


def final_table(records: Sequence[Record], title: str) -> Table:
    """Policy x accuracy on each test set, tasks solved, EA, STB, margin and examples."""
    sets, accuracy = _columns(test_sets(records)), policies(records)
    table = _table(title, ("policy", *sets, "solved", "EA", "STB", "margin", "L1+L2"))
    for record in records:
        if record["kind"] == "base":
            for name in ("base, zero-shot", "base, few-shot"):
                table.add_row(name, *_percents(accuracy[name], sets))
        elif record["kind"] == "iteration":
            name = f"iteration {record['iteration'] + 1}"
            table.add_row(
                name,
                *_percents(accuracy[name], sets),
                f"{record['solved_by_exploration']} -> {record['solved']}",
                *(_number(record[key]) for key in ("ea", "stb", "margin")),
                f"{record['l1_examples']}+{record['l2_examples']}",
            )
    return table


def table_of_times(records: Sequence[Record], title: str) -> Table:
    """Policy x time by stage, what was compiled apart, and the sum."""
    table = _table(title, ("policy", *STAGES, "all"))
    for record in records:
        if record["kind"] in ("base", "iteration"):
            name = "base" if record["kind"] == "base" else f"iteration {record['iteration'] + 1}"
            times = record.get("time", {})  # and when it was written
            together = sum(times.get(stage, 0.0) for stage in STAGES)
            table.add_row(name, *_times(record), duration(together))
    return table


def table_of_sets(records: Sequence[Record], title: str) -> Table | None:
    """Test set x policy, where there are too many sets for the columns of the other table; else None."""
    sets, accuracy = test_sets(records), policies(records)
    if len(sets) <= MOST_COLUMNS:
        return None
    table = _table(title, ("test set", *accuracy))
    for name in (*sets, MEAN):
        table.add_row(name, *(percent(_of(by_set, name)) for by_set in accuracy.values()))
    return table


def policies(records: Sequence[Record]) -> dict[str, Mapping[str, float | None]]:
    """Accuracy by test set of every policy of a run: the base model both ways, then iterations."""
    found: dict[str, Mapping[str, float | None]] = {}
    for record in records:
        if record["kind"] == "base":
            found["base, zero-shot"] = record["accuracy"]["zero_shot"]
            found["base, few-shot"] = record["accuracy"]["few_shot"]
        elif record["kind"] == "iteration":
            found[f"iteration {record['iteration'] + 1}"] = record["accuracy"]
    return found


def test_sets(records: Sequence[Record]) -> list[str]:
    """Names of the test sets, in the order of the run."""
    names: dict[str, None] = {}
    for record in records:
        if record["kind"] == "iteration":
            names |= dict.fromkeys(record["accuracy"])
        elif record["kind"] == "base":
            names |= dict.fromkeys(record["accuracy"]["zero_shot"])
    return list(names)


def percent(value: float | None) -> str:
    """A share for a reader; a dash where it is undefined."""
    return "-" if value is None else f"{100 * value:.1f} %"


def mean_accuracy(accuracy: Mapping[str, float | None]) -> float | None:
    """The mean over test sets, each weighing the same; None if none of them was judged."""
    known = [value for value in accuracy.values() if value is not None]
    return sum(known) / len(known) if known else None


def _table(title: str, columns: Sequence[str]) -> Table:
    """An empty table: a name, then numbers, which are folded where the terminal is narrow, never cut."""
    table = Table(title=title)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    return table


def _columns(sets: Sequence[str]) -> list[str]:
    return list(sets) if len(sets) <= MOST_COLUMNS else [MEAN]


def _of(accuracy: Mapping[str, float | None], name: str) -> float | None:
    return mean_accuracy(accuracy) if name == MEAN else accuracy.get(name)


def _percents(accuracy: Mapping[str, float | None], sets: Sequence[str]) -> list[str]:
    return [percent(_of(accuracy, name)) for name in sets]


def _accuracies(accuracy: Mapping[str, float | None]) -> str:
    columns = _columns(list(accuracy))
    told = f" of {len(accuracy)}" if columns == [MEAN] else ""
    return ", ".join(f"{name}{told} {percent(_of(accuracy, name))}" for name in columns) or "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _times(record: Record) -> list[str]:
    times = record.get("time", {})
    return [duration(times[stage]) if stage in times else "-" for stage in STAGES]
