"""The paper's published data sets as tasks, from the hub or from local files, in either of two forms.

What their rows mean is in `math_sets` and `logic_sets`.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from envisions_jax.tasks.columns import RealSet, RowError
from envisions_jax.tasks.errors import TaskError
from envisions_jax.tasks.local import Row, find_file, hub_rows, read_rows
from envisions_jax.tasks.logic_sets import LOGIC_SETS
from envisions_jax.tasks.math_sets import MATH_SETS
from envs import Task

COMPAT = ("paper", "reference")
REAL_SETS: Mapping[str, RealSet] = MATH_SETS | LOGIC_SETS


def load_real(name: str, split: str, path: str | Path | None, options: Mapping[str, Any]) -> list[Task]:
    """All tasks of a split ("train", "test", "all") of a real set, from a local file or the hub, in id order.

    Raises TaskError (see `envisions_jax.tasks.load`).
    """
    unknown = options.keys() - {"compat"}
    if unknown:
        raise TaskError(f"{name}: unknown option {sorted(unknown)[0]!r}; there is compat")
    compat = options.get("compat", "paper")
    if compat not in COMPAT:
        raise TaskError(f"{name}: compat is {compat!r}, must be one of {', '.join(COMPAT)}")
    real = REAL_SETS[name]
    if split == "train" and not real.has_train:
        raise TaskError(
            f"{name}: has no train split, the paper only tests on it; cut it in two by id order with slices, "
            f"such as {name}:all[:700] to train on and {name}:all[700:] to test on"
        )
    if path is None:
        parts = (split,) if real.has_train and split != "all" else real.hub_splits
        rows = chain.from_iterable(hub_rows(name, real.hub_id, real.configs, part) for part in parts)
        return _tasks(name, split, rows, compat, source=real.hub_id)
    whole = () if real.has_train and split != "all" else (name,)
    file = find_file(path, name, (f"{name}_{split}", *whole))
    tasks = _tasks(name, split, read_rows(file), compat, source=str(file))
    _check_split(name, split, tasks, file)
    return tasks


def _tasks(name: str, split: str, rows: Iterator[Row], compat: str, source: str) -> list[Task]:
    real = REAL_SETS[name]
    tasks = []
    seen: dict[str, str] = {}
    for number, (where, columns) in enumerate(rows):
        try:
            read = real.read(columns, compat)
            task_id = real.identify(columns, real.id_format.format(split=split, number=number))
        except RowError as error:
            raise TaskError(f"{where}: {error} (read as {name})") from error
        if task_id in seen:
            raise TaskError(f"{where}: id {task_id!r} was already used by {seen[task_id]}")
        seen[task_id] = where
        if read is not None:
            tasks.append(Task(task_id, read.question, read.answer, read.context, read.meta))
    if not tasks:
        told = f"has no task (of {len(seen)} rows; used are {real.subset})" if seen else "is empty"
        raise TaskError(f"{name}: {source} {told}")
    return sorted(tasks, key=lambda task: _natural(task.id))


def _natural(text: str) -> list[tuple[int, str]]:
    """A sort key that puts x/9 before x/10."""
    key = []
    for place, part in enumerate(re.split(r"([0-9]+)", text)):  # every other part is a number
        digits = part.lstrip("0")
        key.append((len(digits), digits) if place % 2 else (0, part))
    return key


def _check_split(name: str, split: str, tasks: list[Task], file: Path) -> None:
    """Refuses a file that is another split by name or ids: training on test data must not go unnoticed."""
    other = {"train": "test", "test": "train"}.get(split)
    if other is None:
        return
    bad = next((repr(task.id) for task in tasks if task.id.startswith(f"{name}/{other}/")), None)
    if bad is None and re.match(rf"{name}_{other}[._]", file.name):
        bad = f"{name}_{other} in its name"
    if bad:
        raise TaskError(
            f"{file}: has {bad}, which is not of the split {split}; ask for the split the file is of"
        )
