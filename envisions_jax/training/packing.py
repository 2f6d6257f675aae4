"""Packing: the examples of one optimiser step, laid side by side in rows of fixed length.

Every example is a segment of a row: attention is causal within a segment and blind outside it, and
positions start again at 0, so an example trains exactly as if it were alone (tests perturb one and watch
the others). The shapes are fixed, so nothing recompiles. Worked example, two examples in one row of 8:

    A: prompt [11 12 13]  completion [14 2]        B: prompt [21]  completion [22 2]

    tokens       11 12 13 14 21 22  0  0           (a last completion token is only a target, not an input)
    positions     0  1  2  3  0  1  0  0
    segment_ids   1  1  1  1  2  2  0  0           (0 is padding)
    target_index        2  3  4  5                 (positions of the row whose logits predict …)
    target_ids         14  2 22  2                 (… these tokens)
    target_weights    1/4 1/4 1/4 1/4              (1 / (targets of the example x examples of the step))
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from envisions_jax.first_fit import first_fit_decreasing
from envisions_jax.training.examples import KINDS, Example

AnyArray = Any
"""NumPy where packed, JAX where trained on."""


class Microbatch(NamedTuple):
    """Fixed-shape arrays of one forward and backward pass: r rows of t tokens, m = r·t target slots.

    Only the first `num_targets` slots are used; the loss visits no others, so the shape can be the largest
    possible.
    """

    tokens: Int[AnyArray, "r t"]
    positions: Int[AnyArray, "r t"]
    segment_ids: Int[AnyArray, "r t"]
    target_index: Int[AnyArray, " m"]  # into the flattened rows: row * t + position
    target_ids: Int[AnyArray, " m"]
    target_weights: Float[AnyArray, " m"]  # 0 in unused slots
    target_kinds: Int[AnyArray, " m"]  # index into KINDS
    num_targets: Int[AnyArray, ""]


class RowShape(NamedTuple):
    """Shape of a microbatch."""

    rows: int
    row_length: int


def row_shapes(rows: int, row_length: int, max_length: int) -> list[RowShape]:
    """The few shapes a run can use: `row_length` doubled until `max_length` fits, about as many tokens.

    Nearly all examples fit the first; a longer one goes to the first shape it fits, which compiles when
    first met. With rows 4, row_length 256, max_length 2,048: 4x256, 2x512, 1x1024, 1x2048.
    """
    shapes = [RowShape(rows, row_length)]
    while shapes[-1].row_length < max_length:
        length = min(2 * shapes[-1].row_length, max_length)
        shapes.append(RowShape(max(1, rows * row_length // length), length))
    return shapes


def pack(examples: Sequence[Example], shapes: Sequence[RowShape]) -> list[Microbatch]:
    """Pack the examples of ONE optimiser step; the weights of all microbatches together sum to 1.

    Args:
        examples: those of the step; none empty and none longer than the last shape's rows (see `truncate`).
        shapes: from `row_shapes`, shortest rows first.

    Returns:
        Microbatches, each in one of `shapes`, the last of a shape perhaps partly padding; or of a single row
        each, where at most half of that last one's rows would be in use.
    """
    _check_fits(examples, shapes[-1].row_length)
    filled: dict[int, list[list[Example]]] = {shape.row_length: [] for shape in shapes}
    sizes = [example.row_tokens for example in examples]
    for length, members in first_fit_decreasing(sizes, [shape.row_length for shape in shapes]):
        filled[length].append([examples[member] for member in members])
    microbatches = []
    for shape, rows in zip(shapes, filled.values(), strict=True):
        for start in range(0, len(rows), shape.rows):
            group = rows[start : start + shape.rows]
            # A few rows too many go one by one: that is cheaper than as many places again of padding.
            size = 1 if len(group) <= shape.rows // 2 else shape.rows
            for at in range(0, len(group), size):
                layout = RowShape(size, shape.row_length)
                microbatches.append(_layout(group[at : at + size], layout, len(examples)))
    return microbatches


def _check_fits(examples: Sequence[Example], longest: int) -> None:
    for example in examples:
        if example.row_tokens > longest or not example.completion_tokens:
            raise ValueError(
                f"example of task {example.task_id!r} has {len(example.completion_tokens)} targets and "
                f"takes {example.row_tokens} places of rows of at most {longest}; truncate() it first"
            )


def _layout(rows: Sequence[Sequence[Example]], shape: RowShape, num_examples: int) -> Microbatch:
    """Write rows of examples into arrays; `num_examples` is that of the whole step."""
    tokens, positions, segment_ids = (np.zeros(shape, np.int32) for _ in range(3))
    slots = shape.rows * shape.row_length
    target_index, target_ids, target_kinds = (np.zeros(slots, np.int32) for _ in range(3))
    target_weights = np.zeros(slots, np.float32)
    used = 0
    for r, row in enumerate(rows):
        start = 0
        for segment, example in enumerate(row, start=1):
            size, count = example.row_tokens, len(example.completion_tokens)
            here = slice(start, start + size)
            tokens[r, here] = (*example.prompt_tokens, *example.completion_tokens)[:-1]
            positions[r, here] = np.arange(size)
            segment_ids[r, here] = segment
            targets = slice(used, used + count)
            # The last `count` places of the segment are those that predict the completion.
            target_index[targets] = r * shape.row_length + start + size - count + np.arange(count)
            target_ids[targets] = example.completion_tokens
            target_weights[targets] = 1.0 / (count * num_examples)
            target_kinds[targets] = KINDS.index(example.kind)
            start, used = start + size, used + count
    return Microbatch(
        tokens,
        positions,
        segment_ids,
        target_index,
        target_ids,
        target_weights,
        target_kinds,
        np.array(used, np.int32),
    )
