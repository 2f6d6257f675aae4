"""Token trees in rows: what texts have in common is computed once, and rows are full.

A prompt with its completions, or prompts that begin alike, form a tree: one root, and branches that go on
from it. Trees lie side by side in rows of a fixed length; the attention mask lets a token see its own branch
and the root of its own tree. Scoring and prefill are both made of this.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

WORTH_SHARING = 8  # tokens; a shorter common beginning only makes trees that are harder to fit into rows


@dataclasses.dataclass(frozen=True)
class Tree:
    """A root, and what it is continued with."""

    root: Sequence[int]
    branches: Sequence[Sequence[int]]

    @property
    def size(self) -> int:
        return len(self.root) + sum(map(len, self.branches))


@dataclasses.dataclass(frozen=True)
class Branch:
    """Where branch `number` of tree `tree` lies: places in the flattened rows ``[b·t]``, in reading order."""

    tree: int
    number: int
    root: range
    own: range

    @property
    def places(self) -> list[int]:
        return [*self.root, *self.own]


@dataclasses.dataclass(eq=False)
class TreeBatch:
    """Some rows of trees; `b` rows of `t` tokens.

    The root ``[p, q]`` with branches ``[x, y]`` and ``[z]``::

        tokens       p q x y z
        ends         5 5 4 4 5      see `envisions_jax.models.attention.branch_mask`; 0 is padding
        positions    0 1 2 3 2
        branches     places 0 1 2 3 and 0 1 4
    """

    tokens: np.ndarray
    ends: np.ndarray
    positions: np.ndarray
    branches: list[Branch]


def pack_trees(
    trees: Sequence[Tree], row_length: int, rows: int, branches: float = math.inf
) -> list[TreeBatch]:
    """The trees in batches of `rows` rows, each row as full as may be. A tree never spans rows.

    branches: how many a row may hold.
    """
    filled = pack_rows(trees, row_length, branches)
    batches = []
    for start in range(0, len(filled), rows):
        tokens, ends, positions = np.zeros((3, rows, row_length), np.int32)
        batch = TreeBatch(tokens, ends, positions, [])
        for row, members in enumerate(filled[start : start + rows]):
            at = 0
            for member in members:
                _lay_out(batch, row, at, trees[member], member)
                at += trees[member].size
        batches.append(batch)
    return batches


def pack_rows(trees: Sequence[Tree], length: int, branches: float = math.inf) -> list[list[int]]:
    """The trees of each row, largest first, each in the first row with room for it, or in a new one.

    branches: as for `pack_trees`. Raises ValueError for a tree that does not fit into a row of its own.
    """
    rows: list[list[int]] = []
    room: list[tuple[int, float]] = []  # tokens, branches
    for number in sorted(range(len(trees)), key=lambda number: -trees[number].size):
        size, count = trees[number].size, len(trees[number].branches)
        if size > length or count > branches:
            most = "" if branches == math.inf else f" in {branches}"
            raise ValueError(
                f"a tree of {size} tokens in {count} branches is too large for rows of {length}{most}"
            )
        free = (row for row, (tokens, others) in enumerate(room) if tokens >= size and others >= count)
        chosen = next(free, len(rows))
        if chosen == len(rows):
            rows.append([])
            room.append((length, branches))
        rows[chosen].append(number)
        tokens, others = room[chosen]
        room[chosen] = tokens - size, others - count
    return rows


def _lay_out(batch: TreeBatch, row: int, start: int, tree: Tree, number: int) -> None:
    flat = row * batch.tokens.shape[1]
    root = range(flat + start, flat + start + len(tree.root))
    at = start
    for branch, tokens in enumerate([tree.root, *tree.branches]):
        end = at + len(tokens)
        first = 0 if branch == 0 else len(tree.root)
        batch.tokens[row, at:end] = tokens
        batch.ends[row, at:end] = start + tree.size if branch == 0 else end
        batch.positions[row, at:end] = np.arange(first, first + len(tokens))
        if branch > 0:
            batch.branches.append(Branch(number, branch - 1, root, range(flat + at, flat + end)))
        at = end


def grow_trees(prompts: Sequence[Sequence[int]], most: int, branches: float = math.inf) -> list[Tree]:
    """Trees of at most `most` tokens, and of so many `branches`, which one after the other are the prompts in
    their order.

    A prompt joins its neighbours where that saves tokens: a root of r tokens under n prompts saves (n - 1)·r.
    The five refinements of a task share all but the attempt, so that a stage of them is half the work. Every
    branch keeps at least one token; no prompt may be empty.

    >>> grow_trees([[1] * 9 + [2], [1] * 9 + [3, 4], [5, 6]], most=64)[0].branches
    [[2], [3, 4]]
    """
    trees: list[Tree] = []
    group: list[Sequence[int]] = []
    shared = 0
    for prompt in prompts:
        common = min(shared, len(common_prefix([group[0], prompt]))) if group else 0
        size = sum(map(len, group)) + len(prompt) - len(group) * common
        saves = len(group) * common > (len(group) - 1) * shared
        fits = size <= most and len(group) < branches
        if group and common >= WORTH_SHARING and saves and fits:
            group.append(prompt)
            shared = common
        else:
            trees += [_tree(group, shared)] if group else []
            group, shared = [prompt], len(prompt) - 1
    return trees + ([_tree(group, shared)] if group else [])


def _tree(prompts: Sequence[Sequence[int]], shared: int) -> Tree:
    return Tree(prompts[0][:shared], [prompt[shared:] for prompt in prompts])


def common_prefix(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The longest common beginning that leaves every prompt at least one token of its own.

    >>> common_prefix([[1, 2, 3], [1, 2, 4, 5]]), common_prefix([[1, 2]])
    ([1, 2], [1])
    """
    rows = [tuple(prompt) for prompt in prompts]
    first, last = min(rows), max(rows)  # in lexicographic order these two differ the earliest
    limit = min(len(prompt) for prompt in prompts) - 1
    length = 0
    while length < limit and first[length] == last[length]:
        length += 1
    return list(first[:length])
