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
COLD_START = "cold start"

Record = Mapping[str, Any]


def cold_start_line(record: Record, seconds: Mapping[str, float]) -> str:
    """What a cold start came to, in one line."""
    return (
        f"cold start: trained on {record['demonstrations']} demonstrations, "
        f"accuracy {_accuracies(record['accuracy'])}, {duration(sum(seconds.values()))}"
    )


def iteration_line(record: Record, iterations: int, seconds: Mapping[str, float]) -> str:
    """What an iteration did, in one line."""
    given = f"{record['demonstrations']} demonstrations + " if record["demonstrations"] else ""
    return (
        f"iteration {record['iteration'] + 1}/{iterations}: "
        f"solved {record['solved_by_exploration']} -> {record['solved']} of {record['tasks']}, "
        f"trained on {given}{record['l1_examples']} L1 + {record['l2_examples']} L2, "
        f"accuracy {_accuracies(record['accuracy'])}, {duration(sum(seconds.values()))}"
    )


def final_table(records: Sequence[Record], title: str) -> Table:
    """Policy x accuracy on each test set, tasks solved, EA, STB, margin and examples."""
    sets, accuracy = _columns(test_sets(records)), policies(records)
    table = _table(_told(title, records), ("policy", *sets, "solved", "EA", "STB", "margin", "L1+L2"))
    for record in records:
        if record["kind"] == "base":
            for name in ("base, zero-shot", "base, few-shot"):
                table.add_row(name, *_percents(accuracy[name], sets))
        elif record["kind"] == "cold_start":
            table.add_row(COLD_START, *_percents(accuracy[COLD_START], sets))
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
    table = _table(_told(title, records), ("policy", *STAGES, "all"))
    for record in records:
        if record["kind"] in ("base", "cold_start", "iteration"):
            fixed = {"base": "base", "cold_start": COLD_START}
            name = fixed.get(record["kind"], f"iteration {record['iteration'] + 1}")
            times = record.get("time", {})  # and when it was written
            together = sum(times.get(stage, 0.0) for stage in STAGES)
            table.add_row(name, *_times(record), duration(together))
    return table


def table_of_sets(records: Sequence[Record], title: str) -> Table | None:
    """Test set x policy, where there are too many sets for the columns of the other table; else None."""
    sets, accuracy = test_sets(records), policies(records)
    if len(sets) <= MOST_COLUMNS:
        return None
    table = _table(_told(title, records), ("test set", *accuracy))
    for name in (*sets, MEAN):
        table.add_row(name, *(percent(_of(by_set, name)) for by_set in accuracy.values()))
    return table


def table_of_labels(records: Sequence[Record], title: str) -> Table | None:
    """Policy and test set x accuracy by label, and vacuous programs; None where no set has labels."""
    by_label, vacuous = _by_policy(records, "accuracy_by_label"), _by_policy(records, "vacuous")
    labels = sorted({label for sets in by_label.values() for own in sets.values() for label in own})
    if not labels:
        return None
    table = _table(_told(title, records), ("policy", "test set", *labels, "vacuous"))
    for policy, sets in by_label.items():
        for name, own in sets.items():
            table.add_row(
                policy, name, *(percent(own.get(label)) for label in labels), str(vacuous[policy][name])
            )
    return table


def policies(records: Sequence[Record]) -> dict[str, Mapping[str, float | None]]:
    """Accuracy by test set of every policy: the base model both ways, that of a cold start, iterations."""
    return _by_policy(records, "accuracy")


def demonstrations(records: Sequence[Record]) -> int:
    """How many gold programs a run's cold start learned from; 0 if it had none."""
    return max((record["demonstrations"] for record in records if record["kind"] == "cold_start"), default=0)


def _by_policy(records: Sequence[Record], key: str) -> dict[str, Any]:
    """What the records say under `key`, by policy; records of older runs may not have all keys."""
    found: dict[str, Any] = {}
    for record in records:
        if record["kind"] == "base":
            both = record.get(key, {})
            found["base, zero-shot"] = both.get("zero_shot", {})
            found["base, few-shot"] = both.get("few_shot", {})
        elif record["kind"] in ("cold_start", "iteration"):
            name = COLD_START if record["kind"] == "cold_start" else f"iteration {record['iteration'] + 1}"
            found[name] = record.get(key, {})
    return found


def _told(title: str, records: Sequence[Record]) -> str:
    """A table's title, with the demonstrations that a run was given: without them its figures say little."""
    count = demonstrations(records)
    return f"{title}, cold start on {count} demonstrations" if count else title


def test_sets(records: Sequence[Record]) -> list[str]:
    """Names of the test sets, in the order of the run."""
    names: dict[str, None] = {}
    for record in records:
        if record["kind"] in ("cold_start", "iteration"):
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
