"""One of two processes of which some cannot write a checkpoint: `test_saving.py` starts both, each prints
what it was told.
"""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from envisions_jax import hosts
from envisions_jax.training import stored_tree
from envisions_jax.training.checkpoints import Checkpoints
from envisions_jax.training.stored_tree import CheckpointError
from tests.full_disk import files_of_at_most

ROOM = 20_000  # bytes; each process writes ten times as many, in other files fewer
NO_ROOM = 10


def main(folder: Path) -> None:
    hosts.start()
    mesh = Mesh(np.array(jax.devices()), ("all",))
    array = np.random.default_rng(0).normal(size=(2, 50_000)).astype(np.float32)
    tree = {"w": hosts.placed(array, NamedSharding(mesh, PartitionSpec("all")))}
    list_files = stored_tree.list_files
    met: dict[str, str] = {}
    with Checkpoints(folder) as checkpoints:
        met["nobody"] = told(checkpoints, 1, tree)
        for step, (victims, room) in enumerate(
            [("0", ROOM), ("1", ROOM), ("01", ROOM), ("0", NO_ROOM), ("1", NO_ROOM), ("0", 0)], start=2
        ):
            with files_of_at_most(room) if str(hosts.index()) in victims else nullcontext():
                met[f"{victims}, {room}"] = told(checkpoints, step, tree)
        stored_tree.list_files = refuse  # what the first process does alone, when both have written
        met["naming"] = told(checkpoints, 8, tree)
        stored_tree.list_files = list_files
        met["nobody again"] = told(checkpoints, 9, tree)
        met["steps"] = str(checkpoints.steps())
        restored = checkpoints.latest(tree)
        met["restored"] = str(restored is not None and restored.step)
    print(json.dumps(met), flush=True)
    hosts.gather("done")


def told(checkpoints: Checkpoints, step: int, tree: Any) -> str:
    try:
        checkpoints.save(step, tree, {})
        checkpoints.wait()
    except CheckpointError as error:
        return str(error)
    return ""


def refuse(folder: Path) -> None:
    raise OSError(28, "No space left on device", str(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
