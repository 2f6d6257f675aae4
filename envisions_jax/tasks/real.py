"""The paper's math data sets: where each comes from, what its rows mean, and how it is split.

Every set is read in two forms: with the columns of its hub data set, or as {id, question, answer}.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

from envisions_jax.tasks.errors import TaskError
from envisions_jax.tasks.latex import boxed_answer, reference_label, to_number, to_rational
from envisions_jax.tasks.local import Row, find_file, hub_rows, read_rows
from envs import Task

COMPAT = ("paper", "reference")

_MATH_SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)


class _RowError(ValueError):
    """What is wrong with a row; the reader adds where."""


@dataclass(frozen=True)
class RealSet:
    """One published data set.

    hub_splits: what the hub calls its parts, in id order.
    has_train: whether those are "train" and "test" to the paper too; on the others it only tests.
    read: (columns, compat) → question, answer, meta; None for a row that is not of the subset the paper uses.
    paper_counts: split → how many tasks the paper has.
    id_format: of rows without an id, from split and row number.
    """

    hub_id: str
    configs: tuple[str, ...]
    hub_splits: tuple[str, ...]
    read: Callable[[Mapping[str, Any], str], "tuple[str, int | float, dict[str, Any]] | None"]
    paper_counts: Mapping[str, int]
    id_format: str
    has_train: bool = False
    subset: str = "all rows"


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
            task_id = _id(columns, real.id_format.format(split=split, number=number))
        except _RowError as error:
            raise TaskError(f"{where}: {error}") from error
        if task_id in seen:
            raise TaskError(f"{where}: id {task_id!r} was already used by {seen[task_id]}")
        seen[task_id] = where
        if read is not None:
            question, answer, meta = read
            tasks.append(Task(task_id, question, answer, meta=meta))
    if not tasks:
        raise TaskError(f"{name}: {source} has no task (of {len(seen)} rows; used are {real.subset})")
    return sorted(tasks, key=lambda task: _natural(task.id))


def _natural(text: str) -> list[tuple[int, str]]:
    """A sort key that puts x/9 before x/10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"([0-9]+)", text)]


def _check_split(name: str, split: str, tasks: list[Task], file: Path) -> None:
    """Refuses a file whose ids say that it is another split: training on test data must not go unnoticed."""
    other = {"train": f"{name}/test/", "test": f"{name}/train/"}.get(split)
    bad = next((task.id for task in tasks if other and task.id.startswith(other)), None)
    if bad:
        raise TaskError(
            f"{file}: has {bad!r}, which is not of the split {split}; ask for the split the file is of"
        )


def _id(columns: Mapping[str, Any], default: str) -> str:
    value = columns.get("id", columns.get("ID", default))
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise _RowError(f"id must be text or a whole number, is {value!r}")
    return str(value)


def _text(columns: Mapping[str, Any], column: str) -> str:
    value = columns.get(column)
    if not isinstance(value, str) or not value.strip():
        found = (
            f"is {value!r}" if column in columns else f"is missing (there are {', '.join(columns) or 'none'})"
        )
        raise _RowError(f"column {column!r} must be text, {found}")
    return value.strip()


def _number(value: Any) -> int | float:
    """An int where the value is integral. Text may have thousands separators and a dollar sign in front."""
    if isinstance(value, str):
        text = value.strip().removeprefix("$").replace(",", "")
        if re.fullmatch(
            r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?|[-+]?[0-9]+/0*[1-9][0-9]*", text
        ):
            return to_number(Fraction(text))
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    elif isinstance(value, float) and value - value == 0:  # neither infinite nor NaN
        return int(value) if value.is_integer() else value
    raise _RowError(f"the answer must be a number, is {value!r}")


def _join(body: str, question: str) -> str:
    """Body and question as one text; some bodies lack their last full stop."""
    full_stop = "." if body[-1].isalnum() and question[0].isupper() else ""
    return f"{body}{full_stop} {question}"


def _answer(columns: Mapping[str, Any], column: str = "answer") -> Any:
    if columns.get(column) is None:
        found = "is null" if column in columns else f"is missing (there are {', '.join(columns) or 'none'})"
        raise _RowError(f"column {column!r} {found}")
    return columns[column]


def _read_gsm8k(columns: Mapping[str, Any], compat: str) -> tuple[str, int | float, dict[str, Any]]:
    answer = _answer(columns)
    if isinstance(answer, str):  # the hub's answers are a worked solution that ends in "#### 72"
        answer = answer.rpartition("####")[2]
    return _text(columns, "question"), _number(answer), {}


def _read_svamp(columns: Mapping[str, Any], compat: str) -> tuple[str, int | float, dict[str, Any]]:
    if "Body" not in columns:
        return _text(columns, "question"), _number(_answer(columns)), {}
    question = _join(_text(columns, "Body"), _text(columns, "Question"))
    return question, _number(_answer(columns, "Answer")), {"type": columns.get("Type", "")}


def _read_asdiv(columns: Mapping[str, Any], compat: str) -> tuple[str, int | float, dict[str, Any]] | None:
    """ASDiv answers are "9 (apples)", "3:4", "12 (boys); 3 (girls)": used are those of one whole number."""
    answer = _answer(columns)
    if "body" not in columns:
        return _text(columns, "question"), _number(answer), {}
    match = re.fullmatch(r"\s*(-?[0-9][0-9,]*)(\.0*)?\s*(\([^()]*\))?\s*", str(answer))
    if match is None:
        return None
    question = _join(_text(columns, "body"), _text(columns, "question"))
    return question, _number(match[1]), {"type": columns.get("solution_type", "")}


def _read_gsm_hard(columns: Mapping[str, Any], compat: str) -> tuple[str, int | float, dict[str, Any]]:
    if "input" in columns:
        return _text(columns, "input"), _number(_answer(columns, "target")), {}
    return _text(columns, "question"), _number(_answer(columns)), {}


def _read_math(columns: Mapping[str, Any], compat: str) -> tuple[str, int | float, dict[str, Any]] | None:
    if "problem" in columns:
        question, latex = _text(columns, "problem"), boxed_answer(_text(columns, "solution"))
        if latex is None:
            raise _RowError(r"the solution has no \boxed{…} answer")
    else:
        question, latex = _text(columns, "question"), str(_answer(columns))
    subject = columns.get("subject", columns.get("type", ""))
    meta = {"latex": latex, "level": columns.get("level", ""), "subject": subject}
    if compat == "reference":
        label = reference_label(latex)
        return None if label is None else (question, _number(label), meta)
    value = to_rational(latex)
    return None if value is None else (question, to_number(value), meta | {"exact": str(value)})


REAL_SETS: dict[str, RealSet] = {
    "gsm8k": RealSet(
        "openai/gsm8k",
        ("main",),
        ("train", "test"),
        _read_gsm8k,
        {"train": 7473, "test": 1319},
        id_format="gsm8k/{split}/{number}",
        has_train=True,
    ),
    "math": RealSet(
        "EleutherAI/hendrycks_math",
        _MATH_SUBJECTS,
        ("train", "test"),
        _read_math,
        {"train": 6019, "test": 4001},
        id_format="math/{split}/{number}",
        has_train=True,
        subset="rows whose gold answer is one rational number",
    ),
    "gsm_hard": RealSet(
        "reasoning-machines/gsm-hard",
        ("default",),
        ("train",),
        _read_gsm_hard,
        {"test": 1319},
        id_format="gsm_hard/test/{number}",
    ),
    "svamp": RealSet(
        "ChilleD/SVAMP",
        ("default",),
        ("train", "test"),
        _read_svamp,
        {"test": 1000},
        id_format="svamp/{number}",
    ),
    "asdiv": RealSet(
        "EleutherAI/asdiv",
        ("asdiv",),
        ("validation",),
        _read_asdiv,
        {"test": 2096},
        id_format="asdiv/{number:04d}",
        subset="rows whose answer is one whole number",
    ),
}
