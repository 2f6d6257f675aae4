"""The data sets' theories as gold programs, with the tasks they belong to."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import envs
from envs.logic.language import Program
from envs.logic.theory import World
from tests.envs.logic.english import translate

PROOFWRITER, RULETAKER = "proofwriter_train_3600", "ruletaker_1000"
_WORLDS: dict[str, World] = {PROOFWRITER: "open", RULETAKER: "closed"}


@dataclass(frozen=True)
class Gold:
    task: envs.Task
    program: Program
    world: World


def gold_programs(folder: Path, name: str) -> list[Gold]:
    """All rows of a data set, none left out. Raises ValueError for a sentence outside of the templates."""
    world = _WORLDS[name]
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [
        Gold(
            envs.Task(row["id"], row["question"], row["answer"], row["context"], {"world": world}),
            translate(row["context"], row["question"]),
            world,
        )
        for row in rows
    ]
