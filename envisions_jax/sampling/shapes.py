"""The few array shapes that sampling and scoring are compiled for.

Lengths are rounded up a ladder. A stage fixes its shape before it samples the first prompt, from *all* its
prompts and the shape of an earlier stage of the kind (`plan`), so that shards of one stage, and a stage that
was killed and resumed, run the very same programs and give the very same bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from envisions_jax.sampling.trees import WORTH_SHARING, Tree, common_prefix, grow_trees, pack_rows

# Each rung that a run meets costs a compilation: few for the prefix, which a stage computes once.
PREFIX_LADDER = (256, 512, 1024, 2048, 4096, 8192, 16384)
# Powers of two, and half-way between the smaller ones: at most a third of a rung is padding there. Every
# decoded token reads the padding of prompts (80 slots: 128 places take 1.2 times as long as 64).
LENGTH_LADDER = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192, 16384, 32768)
# Of rows that hold trees of tokens: fine steps, since a third of padding is a third of the work.
ROW_LADDER = (256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 2048, 2560, 3072, 4096, 8192, 16384)
ATTENTION_COSTS_AS_MUCH = 5000  # SmolLM2: half of a row of 5,000 x 4 x 576 x 30 operations, beside 2 x 106M
LONGEST_ROW = 8  # times the longest prompt; longer ones are not worth a look
TOKENS_A_PROMPT = 16  # of a row, at least: the logits after prompts have so many places in each
MOST_PROMPTS = 64  # of a row
ABOUT_THE_SAME = 1.05
PLANNED = 512  # prompts of a stage that its rows are planned from
FEW = (16, 4)  # slots that the last candidates of a call move to, one after the other
MOST_SEATS = 8  # candidates that read one root together
SHARING_COSTS = 64  # tokens of a prompt that could be read in the time that one more place to attend to takes
# Times as many places to attend to, or as much to compute: beyond, a shape is left for a better one.
WORTH_COMPILING = 1.5
PREFILL_TOKENS = 640  # in one call: two rows of 320 take 0.9 of the time of one and one, four no less


def rung(length: int, ladder: Sequence[int] = LENGTH_LADDER) -> int:
    """The lowest rung that holds `length`; beyond the ladder the next multiple of its last rung.

    >>> rung(33), rung(0), rung(40000)
    (48, 32, 65536)
    """
    for step in ladder:
        if length <= step:
            return step
    return -(-length // ladder[-1]) * ladder[-1]


@dataclasses.dataclass(frozen=True)
class StageShape:
    """What all prompts of a stage have in common.

    Attributes:
      prefix: the tokens that every prompt of the stage begins with; computed once a stage.
      root_length: room, in tokens, for what a few candidates have in common behind it; 0: nothing.
      rest_length: room for the rest of a prompt, which is each candidate's own.
      new_length: room for sampled tokens.
      seats: how many candidates may share one root.
      row_length: of the rows that prompts are packed into for prefill.
      prefill_rows: rows of prompts that are computed in one call.
    """

    prefix: tuple[int, ...]
    root_length: int
    rest_length: int
    new_length: int
    seats: int
    row_length: int
    prefill_rows: int

    @property
    def prefix_length(self) -> int:
        """Room for the prefix, padding included."""
        return prefix_room(self.prefix)

    @property
    def prompt_length(self) -> int:
        """Room for what follows the prefix."""
        return self.root_length + self.rest_length

    @property
    def row_prompts(self) -> int:
        """How many prompts a row may hold."""
        return most_prompts(self.row_length)

    @property
    def places(self) -> int:
        """What a token costs to attend with, in places of its own candidate."""
        return _places(self.root_length, self.rest_length, self.seats) + self.new_length

    def roots(self, slots: int) -> int:
        """How many are held for so many slots: half more than full ones are, since stragglers keep theirs."""
        return min(slots, -(-3 * slots // (2 * self.seats))) if self.root_length else 1


def moved_slots(slots: int, platform: str) -> tuple[int, ...]:
    """To how many slots the last candidates of so many move, one after the other; (): they stay.

    On accelerators they do: a step of few slots reads as many weights there, which is what it waits for.
    On 2 cores one of SmolLM2 takes 101 ms in 40 slots, 59 in 16, 37 in 4 and 30 in 1.
    """
    return FEW if platform == "cpu" and slots >= 2 * FEW[0] else ()


def most_prompts(row_length: int) -> int:
    """How many prompts a row of so many tokens may hold."""
    return min(max(1, row_length // TOKENS_A_PROMPT), MOST_PROMPTS)


def prefix_room(prefix: Sequence[int]) -> int:
    return rung(len(prefix), PREFIX_LADDER) if prefix else 0


def shared_prefix(prompts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """What all prompts begin with, if it is worth a place of its own, which every token attends to."""
    prefix = common_prefix(prompts)
    return tuple(prefix) if len(prefix) >= WORTH_SHARING else ()


def plan(
    prompts: Sequence[Sequence[int]], max_new_tokens: int, k: int = 1, kept: StageShape | None = None
) -> StageShape:
    """The shape of a stage that samples `k` candidates from each of `prompts`, none of which is empty.

    `kept`, the shape of an earlier stage of the kind, is taken again where the prompts fit into it and lose
    little by it: another one would have to be compiled. Only the prefix is their own, and may need another
    room. Planning anew with what was planned gives it again.
    """
    prefix = shared_prefix(prompts)
    own = [prompt[len(prefix) :] for prompt in prompts]
    longest = max(map(len, own))
    # Neighbours may share a tree, equal prompts are computed once, and some hundred stand for all.
    some = list(dict.fromkeys(map(tuple, own)))[:PLANNED]

    def trees(length: int) -> list[Tree]:
        return grow_trees(some, length, most_prompts(length))

    def rows(length: int) -> int:
        return len(pack_rows(trees(length), length, most_prompts(length)))

    row_length = best_row_length(rows, longest)
    together = min(max(1, PREFILL_TOKENS // row_length), rows(row_length))
    root, rest, seats = _division(trees(row_length), longest, k)
    planned = StageShape(prefix, root, rest, rung(max_new_tokens), seats, row_length, together)
    if kept is not None and _serves(kept, planned, some, longest, k):
        return dataclasses.replace(kept, prefix=prefix)
    return planned


def _serves(
    kept: StageShape, planned: StageShape, own: Sequence[Sequence[int]], longest: int, k: int
) -> bool:
    is_alike = kept.new_length == planned.new_length and longest <= min(kept.prompt_length, kept.row_length)
    if not is_alike or kept.places > WORTH_COMPILING * planned.places:
        return False
    if k > 1:
        return kept.seats == planned.seats and not kept.rest_length
    trees = grow_trees(own, kept.row_length, kept.row_prompts) if kept.root_length else []
    fits = all(
        max(0, len(tree.root) - kept.root_length) + max(map(len, tree.branches)) <= kept.rest_length
        for tree in trees
        if len(tree.branches) > 1
    )
    return kept.rest_length > 0 and fits and (not trees or _are_taken(trees, kept.seats))


def _division(trees: Sequence[Tree], longest: int, k: int) -> tuple[int, int, int]:
    """Room for roots and for rests, and how many candidates sit at a root.

    With several candidates a prompt, a prompt is their root. With one, a tree's root is, if most seats are
    taken then, and if reading roots once for all their branches is less than reading whole prompts.
    """
    if k > 1:
        return rung(longest), 0, -(-k // -(-k // MOST_SEATS))
    shared = [tree for tree in trees if len(tree.branches) > 1]
    if shared:
        seats = min(MOST_SEATS, max(len(tree.branches) for tree in shared))
        root = rung(max(len(tree.root) for tree in shared))
        rests = (len(branch) for tree in shared for branch in tree.branches)
        rest = rung(max(longest - root, *rests))
        if _are_taken(trees, seats) and _places(root, rest, seats) < rung(longest):
            return root, rest, seats
    return 0, rung(longest), 1


def _are_taken(trees: Sequence[Tree], seats: int) -> bool:
    """Are most seats at the roots of these trees?"""
    sizes = [len(tree.branches) for tree in trees]
    return seats * sum(-(-size // seats) for size in sizes) <= 2 * sum(sizes)


def _places(root: int, rest: int, seats: int) -> int:
    return rest + 2 * root // seats + (SHARING_COSTS if root else 0)


def best_row_length(rows: Callable[[int], int], least: int, kept: int = 0) -> int:
    """The length of rows at which so many of them cost the least to compute.

    A token costs the products with the weights, and those with the keys before it in its row: as much again
    where rows are `ATTENTION_COSTS_AS_MUCH` long. Of lengths that cost about the same it is the shortest, so
    that stages of about one size have one shape; and `kept`, of an earlier stage, as in `plan`.

    >>> best_row_length(lambda length: -(-4 // (length // 301)), 301)
    640
    """

    def cost(length: int) -> float:
        return rows(length) * length * (1 + length / ATTENTION_COSTS_AS_MUCH)

    shortest = rung(least, ROW_LADDER)
    lengths = [length for length in ROW_LADDER if shortest <= length <= LONGEST_ROW * shortest]
    costs = {length: cost(length) for length in lengths or [shortest]}
    if kept >= least and cost(kept) <= WORTH_COMPILING * min(costs.values()):
        return kept
    return min(length for length, one in costs.items() if one <= ABOUT_THE_SAME * min(costs.values()))
