"""Data sets as lists of `envs.Task`: the generated word problems and the paper's five math sets.

    load("generated", "train", limit=200)                     nothing to download
    load("gsm8k", "test")                                     from the Hugging Face hub, extra `data`
    load("asdiv:all[:700]", path="asdiv_1000.jsonl.gz")       a local file: the first 700 by id order
    load("math", "train", compat="reference")                 the authors' labels, faults included

`python -m envisions_jax.tasks` prints what there is.
"""

import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envisions_jax.tasks.errors import TaskError
from envisions_jax.tasks.generated import generate
from envisions_jax.tasks.real import REAL_SETS, load_real
from envs import Task

__all__ = ["NAMES", "TaskError", "load"]

NAMES: tuple[str, ...] = ("generated", *REAL_SETS)

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
    limit: at most this many. Real: a sample drawn with `seed`. Generated: how many to make.
    seed: of the generator and of that sample.
    options: generated: mix (weights of the number of steps: a mapping, or the shares of 1, 2, 3 … steps) and
        level ("easy", "hard"). Real: compat ("paper", or "reference" for the authors' MATH labels).

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
    if name == "generated":
        ends = [end for end in (stop, None if limit is None else start + limit) if end is not None]
        tasks = _generated(match["part"], min(ends, default=0), path, seed, options)[start:]
    else:
        tasks = _sample(load_real(name, match["part"], path or None, options)[start:stop], limit, seed)
    if not tasks:
        raise TaskError(f"{name}: there is nothing in split {split!r} of {path or 'the data set'}")
    return tasks


def _generated(
    split: str, size: int, path: str | Path | None, seed: int, options: Mapping[str, Any]
) -> list[Task]:
    unknown = options.keys() - {"mix", "level"}
    if unknown:
        raise TaskError(f"generated: unknown option {sorted(unknown)[0]!r}; there are mix and level")
    if path:
        raise TaskError(f"generated: is made, not read; drop path={str(path)!r}")
    if size < 1:
        raise TaskError(
            "generated: say how many problems to make (limit=200, or a slice such as train[:200])"
        )
    mix = options.get("mix")
    if isinstance(mix, Sequence):
        mix = dict(enumerate(mix, start=1))
    return generate(split, size, seed, mix, options.get("level", "easy"))


def _sample(tasks: list[Task], limit: int | None, seed: int) -> list[Task]:
    if limit is None or limit >= len(tasks):
        return tasks
    chosen = random.Random(seed).sample(range(len(tasks)), limit)
    return [tasks[index] for index in sorted(chosen)]
