"""Data sets as lists of `envs.Task`: generated word problems and theories, and what the paper uses.

    load("generated", "train", limit=200)                     word problems; nothing to download
    load("theories", "train", limit=200)                      theories and statements; nothing to download
    load("gsm8k", "test")                                     from the Hugging Face hub, extra `data`
    load("asdiv:all[:700]", path="asdiv_1000.jsonl.gz")       a local file: the first 700 by id order
    load("math", "train", compat="reference")                 the authors' labels, faults included

`python -m envisions_jax.tasks` prints what there is.
"""

import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from envisions_jax.tasks.errors import TaskError
from envisions_jax.tasks.generated import generate
from envisions_jax.tasks.logic_sets import LOGIC_SETS
from envisions_jax.tasks.math_sets import MATH_SETS
from envisions_jax.tasks.real import load_real
from envisions_jax.tasks.theories import generate_theories, options_of
from envs import Task

__all__ = ["DOMAINS", "MADE", "NAMES", "Domain", "TaskError", "load"]

Domain = Literal["math", "logic"]
DOMAINS: Mapping[str, Domain] = {
    "generated": "math",
    "theories": "logic",
    **dict.fromkeys(MATH_SETS, "math"),
    **dict.fromkeys(LOGIC_SETS, "logic"),
}
NAMES: tuple[str, ...] = tuple(DOMAINS)
MADE = ("generated", "theories")  # on the spot, as many as are asked for

_SPLIT = re.compile(r"(?P<part>train|test|all)(?:\[(?P<start>\d*):(?P<stop>\d*)\])?")


def load(
    name: str,
    split: str = "train",
    path: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    **options: Any,
) -> list[Task]:
    """The tasks of one data set, always the same ones in the same order (real sets: id order).

    name: one of `NAMES`, or with a split of its own that overrules `split`: "asdiv:all[:700]".
    split: "train", "test" or "all", with an optional slice of whole numbers: "train[:700]", "all[700:]".
    path: a local .jsonl or .jsonl.gz file, or a folder of <name>_<split>.jsonl or <name>.jsonl files
        (.gz too, and with a number of rows, such as asdiv_1000.jsonl); None or "" means the hub.
    limit: at most this many. Real: a sample drawn with `seed`, of logic as many of each label as of any
        other. Generated: how many to make.
    seed: of the generator and of that sample.
    options: generated: mix (weights of the number of steps: a mapping, or the shares of 1, 2, 3 … steps) and
        level ("easy", "hard"). Theories: settings (`theories.TheorySettings`). Real: compat ("paper", or
        "reference" for the authors' MATH labels).

    Raises TaskError: unknown name, split or option; no file; no hub; a bad row (file, line); no task at all.
    """
    given = name
    name, _, own_split = name.partition(":")
    split = own_split or split
    if name not in NAMES:
        raise TaskError(f"no data set is called {given!r}; there are {', '.join(NAMES)}")
    match = _SPLIT.fullmatch(split)
    if match is None:
        raise TaskError(
            f"{name}: split is {split!r}, must be train, test, all or a slice such as train[:700]"
        )
    if limit is not None and limit < 1:
        raise TaskError(f"{name}: limit is {limit}, must be at least 1")
    start = int(match["start"] or 0)
    stop = int(match["stop"]) if match["stop"] else None
    if name in MADE:
        ends = [end for end in (stop, None if limit is None else start + limit) if end is not None]
        tasks = _made(name, match["part"], min(ends, default=0), path, seed, options)[start:]
    else:
        found = load_real(name, match["part"], path or None, options)[start:stop]
        tasks = (_sample_of_labels if name in LOGIC_SETS else _sample)(found, limit, seed)
    if not tasks:
        raise TaskError(f"{name}: there is nothing in split {split!r} of {path or 'the data set'}")
    return tasks


def _made(
    name: str, split: str, size: int, path: str | Path | None, seed: int, options: Mapping[str, Any]
) -> list[Task]:
    if path:
        raise TaskError(f"{name}: is made, not read; drop path={str(path)!r}")
    if size < 1:
        raise TaskError(f"{name}: say how many tasks to make (limit=200, or a slice such as train[:200])")
    if name == "theories":
        return generate_theories(split, size, seed, options_of(options))
    unknown = options.keys() - {"mix", "level"}
    if unknown:
        raise TaskError(f"generated: unknown option {sorted(unknown)[0]!r}; there are mix and level")
    mix = options.get("mix")
    if isinstance(mix, Sequence):
        mix = dict(enumerate(mix, start=1))
    return generate(split, size, seed, mix, options.get("level", "easy"))


def _sample(tasks: list[Task], limit: int | None, seed: int) -> list[Task]:
    if limit is None or limit >= len(tasks):
        return tasks
    chosen = random.Random(seed).sample(range(len(tasks)), limit)
    return [tasks[index] for index in sorted(chosen)]


def _sample_of_labels(tasks: list[Task], limit: int | None, seed: int) -> list[Task]:
    """A sample with as many of each label; where a label has too few, or one more is left, of any."""
    if limit is None or limit >= len(tasks):
        return tasks
    order = random.Random(seed).sample(range(len(tasks)), len(tasks))
    labels = sorted({task.answer for task in tasks}, key=str)
    of_each = [[index for index in order if tasks[index].answer == label] for label in labels]
    chosen = [index for group in of_each for index in group[: limit // len(labels)]]
    rest = [index for index in order if index not in set(chosen)]
    return [tasks[index] for index in sorted([*chosen, *rest[: limit - len(chosen)]])]
