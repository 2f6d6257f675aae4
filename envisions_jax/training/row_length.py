"""How long packed rows are where the config leaves it open: as the examples of a training fill best."""

from collections.abc import Sequence

import numpy as np

from envisions_jax.training.examples import Example
from envisions_jax.training.packing import grouped, row_shapes

MICROBATCH_COSTS = 190
"""Tokens that could be computed in the time that a microbatch takes besides, by the line through 1.60, 1.73,
1.86, 1.99 and 2.03 s, which SmolLM2's rows of 320, 384, 416, 448 and 464 tokens take, forward and back."""

EXAMPLES_LOOKED_AT = 256
"""About as many, in whole steps, decide how long rows are."""

WORTH_COMPILING = 1.1
"""Times as much to compute: beyond, a row length is left for a better one."""


def typical_steps(examples: Sequence[Example], batch_size: int) -> list[list[Example]]:
    """Steps of `batch_size` of these `examples`, drawn at random, the same each time; one of all if there are
    no more.

    Not those of a training: where examples are few, `epoch_batches` makes smaller ones, of another size in
    each iteration, and the rows that these fill best change with it.
    """
    if len(examples) <= batch_size:
        return [list(examples)]
    generator, count = np.random.default_rng(0), max(1, EXAMPLES_LOOKED_AT // batch_size)
    drawn = [generator.choice(len(examples), batch_size, replace=False) for _ in range(count)]
    return [[examples[i] for i in step] for step in drawn]


def cheapest_row_length(
    steps: Sequence[Sequence[Example]],
    rows: int,
    max_length: int,
    lengths: Sequence[int],
    kept: int | None = None,
) -> int:
    """That of `lengths` in which the examples of these optimiser steps cost least to compute.

    Padding costs as much as tokens do, and each microbatch `MICROBATCH_COSTS` besides. Of lengths that cost
    the same it is the first. `kept`, of an earlier training, is taken again if it is one of `lengths` and
    costs at most `WORTH_COMPILING` times what the best does: another one would have to be compiled. So
    deciding again what was decided changes nothing. In how many lanes microbatches are computed is left out:
    a run may go on with another mesh.
    """

    def cost(length: int) -> int:
        shapes = row_shapes(rows, length, max_length)
        used = [shape for step in steps for _, shape in grouped(step, shapes)]
        return sum(shape.rows * shape.row_length + MICROBATCH_COSTS for shape in used)

    costs = {length: cost(length) for length in lengths}
    if kept in costs and costs[kept] <= WORTH_COMPILING * min(costs.values()):
        return kept
    return min(costs, key=lambda length: costs[length])
