"""A run's numbers for a reader: one line an iteration, and the final table. Reads `metrics.jsonl` only."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from envisions_jax.progress import duration

# Stages in the order in which an iteration goes through them, and what they are called in the table.
STAGES = ("generate", "execute", "score", "train", "evaluate", "compile")

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
    """Iteration x accuracy on each test set, tasks solved, EA, STB, margin, examples and time by stage."""
    iterations = [record for record in records if record["kind"] == "iteration"]
    base = next((record for record in records if record["kind"] == "base"), None)
    sets = test_sets(records)
    table = Table(title=title)
    for name in ("policy", *sets, "solved", "EA", "STB", "margin", "L1+L2", *STAGES):
        table.add_column(name, justify="left" if name == "policy" else "right")
    if base is not None:
        for kind, label in (("few_shot", "base, few-shot"), ("zero_shot", "base, zero-shot")):
            figures = [percent(base["accuracy"][kind].get(name)) for name in sets]
            times = _times(base) if kind == "zero_shot" else [""] * len(STAGES)
            table.add_row(label, *figures, *[""] * 5, *times)
    for record in iterations:
        table.add_row(
            f"iteration {record['iteration'] + 1}",
            *(percent(record["accuracy"].get(name)) for name in sets),
            f"{record['solved_by_exploration']} -> {record['solved']}",
            *(_number(record[name]) for name in ("ea", "stb", "margin")),
            f"{record['l1_examples']}+{record['l2_examples']}",
            *_times(record),
        )
    return table


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


def _accuracies(accuracy: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {percent(value)}" for name, value in accuracy.items()) or "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _times(record: Record) -> list[str]:
    times = record.get("time", {})
    return [duration(times[stage]) if stage in times else "-" for stage in STAGES]
