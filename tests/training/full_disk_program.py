"""One process that cannot write a checkpoint of more arrays than may be written at once; prints what it was
told.
"""

import sys
from pathlib import Path

import jax

from envisions_jax.command_line import say_nothing_of_closed_loops
from envisions_jax.training import saving
from envisions_jax.training.checkpoints import Checkpoints
from envisions_jax.training.stored_tree import CheckpointError
from tests.full_disk import files_of_at_most


def main(folder: Path) -> None:
    saving._WRITTEN_AT_ONCE = 2_500_000
    say_nothing_of_closed_loops()
    # Random bits: they do not compress.
    tree = {str(n): jax.random.normal(jax.random.key(n), (500, 1000)) for n in range(30)}
    with Checkpoints(folder) as checkpoints:
        try:
            with files_of_at_most(1_000_000):
                checkpoints.save(1, tree, {})
        except CheckpointError as error:
            print(error, flush=True)
        checkpoints.save(2, tree, {})
        print(checkpoints.steps(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
