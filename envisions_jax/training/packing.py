"""Packing: the examples of one optimiser step in rows of fixed length, what they share computed once.

All examples of a kind begin with the same instruction, and those of one task with the same problem. A row is
therefore a forest of token trees: an example is a path down from a root, and attention lets a token see the
path that leads to it, nothing else. So an example trains exactly as if it were alone (tests perturb one
and watch the others), and positions are those of its own tokens. The shapes are fixed, so nothing recompiles.
Worked example, two examples in one row of 8:

    A: prompt [11 12 13]  completion [14 2]        B: prompt [11 12 21]  completion [22 2]

    tokens       11 12 13 14 21 22  0  0           (a last completion token is only a target, not an input)
    positions     0  1  2  3  2  3  0  0
    ends          6  6  4  4  6  6  0  0           (see `branch_mask`; 0 is padding)
    target_index        2  3  4  5                 (places of the row whose logits predict …)
    target_ids         14  2 22  2                 (… these tokens)
    target_weights    1/4 1/4 1/4 1/4              (1 / (targets of the example x examples of the step))
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from envisions_jax.training.examples import KINDS, Example

AnyArray = Any
"""NumPy where packed, JAX where trained on."""

WORTH_SHARING = 8
"""Tokens; a shorter common beginning does not decide which row an example goes to."""

PACKING = f"shared beginnings of {WORTH_SHARING}, a loop over microbatches, clipped by a product"
"""Name of this way of packing, adding up and clipping. Another rounds differently: no training goes on under
it."""


class Microbatch(NamedTuple):
    """Fixed-shape arrays of one forward and backward pass: r rows of t places, m = r·t target slots.

    Only the first `num_targets` slots are used; the loss visits no others, so the shape can be the largest
    possible.
    """

    tokens: Int[AnyArray, "r t"]
    positions: Int[AnyArray, "r t"]
    ends: Int[AnyArray, "r t"]  # of each place's subtree; 0 is padding
    target_index: Int[AnyArray, " m"]  # into the flattened rows: row * t + position
    target_ids: Int[AnyArray, " m"]
    target_weights: Float[AnyArray, " m"]  # 0 in unused slots
    target_kinds: Int[AnyArray, " m"]  # index into KINDS
    num_targets: Int[AnyArray, "*lanes"]


class RowShape(NamedTuple):
    """Shape of a microbatch."""

    rows: int
    row_length: int


def row_shapes(rows: int, row_length: int, max_length: int) -> list[RowShape]:
    """The few shapes a run can use: `row_length` doubled until `max_length` fits, about as many tokens.

    Nearly all examples fit the first; a longer one goes to the first shape it fits, which compiles when
    first met. With rows 4, row_length 256, max_length 2,048: 4x256, 2x512, 1x1024, 1x2048.

    Raises ValueError for a row length that is still to be chosen (`Trainer.plan_rows`).
    """
    if row_length < 1:
        raise ValueError(f"{row_length=} is still to be chosen; see Trainer.plan_rows")
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
    return [_layout(rows, shape, len(examples)) for rows, shape in grouped(examples, shapes)]


def grouped(
    examples: Sequence[Example], shapes: Sequence[RowShape]
) -> list[tuple[Sequence["_Row"], RowShape]]:
    """The filled rows of each microbatch, and its shape."""
    _check_fits(examples, shapes[-1].row_length)
    filled: dict[int, list[_Row]] = {shape.row_length: [] for shape in shapes}
    for row in _fill_rows([_Path.of(example) for example in examples], list(filled)):
        filled[row.length].append(row)
    groups: list[tuple[Sequence[_Row], RowShape]] = []
    for shape, rows in zip(shapes, filled.values(), strict=True):
        for start in range(0, len(rows), shape.rows):
            group = rows[start : start + shape.rows]
            # A few rows too many go one by one: that is cheaper than as many places again of padding.
            size = 1 if len(group) <= shape.rows // 2 else shape.rows
            for at in range(0, len(group), size):
                groups.append((group[at : at + size], RowShape(size, shape.row_length)))
    return groups


def side_by_side(microbatches: Sequence[Microbatch], lanes: int) -> list[Microbatch]:
    """As many microbatches of one shape as there are lanes, joined along their first axis; one for each lane.

    What is missing to a whole number is padding: microbatches without targets.
    """
    if lanes == 1:
        return list(microbatches)
    by_shape: dict[tuple[int, ...], list[Microbatch]] = {}
    for microbatch in microbatches:
        by_shape.setdefault(microbatch.tokens.shape, []).append(microbatch)
    joined = []
    for group in by_shape.values():
        empty = Microbatch(*map(np.zeros_like, group[0]))
        for start in range(0, len(group), lanes):
            parts = group[start : start + lanes]
            parts += [empty] * (lanes - len(parts))
            joined.append(Microbatch(*map(np.concatenate, zip(*map(_with_axis, parts), strict=True))))
    return joined


def stacks(microbatches: Sequence[Microbatch], size: int) -> list[tuple[Microbatch, np.int32]]:
    """Microbatches of one shape along a new first axis, and how many of the `size` places there are used."""
    stacked = []
    for _, alike in itertools.groupby(microbatches, lambda microbatch: microbatch.tokens.shape):
        group = list(alike)
        for start in range(0, len(group), size):
            part = group[start : start + size]
            unused = [Microbatch(*map(np.zeros_like, group[0]))] * (size - len(part))
            stack = Microbatch(*map(np.stack, zip(*part, *unused, strict=True)))
            stacked.append((stack, np.int32(len(part))))
    return stacked


def blank(shape: RowShape) -> Microbatch:
    """A microbatch of padding alone."""
    return _layout([], shape, 1)


def _with_axis(microbatch: Microbatch) -> Microbatch:
    return microbatch._replace(num_targets=microbatch.num_targets[None])


def _check_fits(examples: Sequence[Example], longest: int) -> None:
    for example in examples:
        if example.row_tokens > longest or not example.completion_tokens:
            raise ValueError(
                f"example of task {example.task_id!r} has {len(example.completion_tokens)} targets and "
                f"takes {example.row_tokens} places of rows of at most {longest}; truncate() it first"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class _Path:
    """An example's tokens in a row."""

    tokens: np.ndarray
    example: Example

    @classmethod
    def of(cls, example: Example) -> "_Path":
        tokens = (*example.prompt_tokens, *example.completion_tokens)[:-1]
        return cls(np.array(tokens, np.int32), example)


@dataclasses.dataclass(eq=False)
class _Row:
    """What lies in a row of `length` places: as many targets have room."""

    length: int
    size: int = 0
    targets: int = 0
    paths: list[_Path] = dataclasses.field(default_factory=list)

    def shared(self, path: _Path) -> int:
        """Tokens at the beginning of `path` that the row has already."""
        return max((_common_length(path.tokens, other.tokens) for other in self.paths), default=0)

    def has_room(self, path: _Path, shared: int) -> bool:
        size, targets = len(path.tokens) - shared, len(path.example.completion_tokens)
        return self.size + size <= self.length and self.targets + targets <= self.length

    def add(self, path: _Path, shared: int) -> None:
        self.size += len(path.tokens) - shared
        self.targets += len(path.example.completion_tokens)
        self.paths.append(path)


def _fill_rows(paths: Sequence[_Path], lengths: Sequence[int]) -> list[_Row]:
    """Longest first, each into the row with room for it that shares most with it, of equal ones the first;
    else into a new row, as short as possible.
    """
    rows: list[_Row] = []
    for path in sorted(paths, key=lambda path: -len(path.tokens)):
        best, most, saved = None, -1, 0
        for row in rows:
            shared = row.shared(path)
            worth = shared if shared >= WORTH_SHARING else 0
            if worth > most and row.has_room(path, shared):
                best, most, saved = row, worth, shared
        if best is None:
            best = _Row(next(length for length in lengths if length >= len(path.tokens)))
            rows.append(best)
        best.add(path, saved)
    return rows


def _common_length(first: np.ndarray, second: np.ndarray) -> int:
    """Tokens that two texts begin with alike."""
    size = min(len(first), len(second))
    differs = first[:size] != second[:size]
    at = int(differs.argmax()) if size else 0
    return at if size and differs[at] else size


def _layout(rows: Sequence[_Row], shape: RowShape, num_examples: int) -> Microbatch:
    """Write rows of examples into arrays; `num_examples` is that of the whole step."""
    tokens, positions, ends = (np.zeros(shape, np.int32) for _ in range(3))
    slots = shape.rows * shape.row_length
    target_index, target_ids, target_kinds = (np.zeros(slots, np.int32) for _ in range(3))
    target_weights = np.zeros(slots, np.float32)
    used = 0
    for r, row in enumerate(rows):
        # In alphabetical order each path leaves the one before it at the end of what the two share.
        places = np.zeros(0, np.int32)  # of the path before
        before = np.zeros(0, np.int32)
        at = 0
        for path in sorted(row.paths, key=lambda path: path.tokens.tolist()):
            shared = _common_length(path.tokens, before)
            ends[r, places[shared:]] = at
            size, count = len(path.tokens), len(path.example.completion_tokens)
            new = np.arange(at, at + size - shared, dtype=np.int32)
            tokens[r, new] = path.tokens[shared:]
            positions[r, new] = np.arange(shared, size)
            places, before, at = np.concatenate([places[:shared], new]), path.tokens, at + len(new)
            targets = slice(used, used + count)
            # The last `count` places of the path are those that predict the completion.
            target_index[targets] = r * shape.row_length + places[size - count :]
            target_ids[targets] = path.example.completion_tokens
            target_weights[targets] = 1.0 / (count * num_examples)
            target_kinds[targets] = KINDS.index(path.example.kind)
            used += count
        ends[r, places] = at
    return Microbatch(
        tokens,
        positions,
        ends,
        target_index,
        target_ids,
        target_weights,
        target_kinds,
        np.array(used, np.int32),
    )
