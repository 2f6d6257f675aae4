"""Trees: what neighbours share, how rows are filled, and who sees whom."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envisions_jax import Policy
from envisions_jax.models.attention import branch_mask
from envisions_jax.sampling.trees import WORTH_SHARING, Tree, grow_trees, pack_trees
from tests.sampling.test_sampler import as_tokens, greedy

TOKENS = st.integers(1, 3)  # few different ones, so that prompts begin alike
BEGINNINGS = st.lists(TOKENS, min_size=0, max_size=2 * WORTH_SHARING)
PROMPTS = st.lists(
    st.tuples(BEGINNINGS, st.lists(TOKENS, min_size=1, max_size=6)).map(lambda parts: parts[0] + parts[1]),
    min_size=1,
    max_size=8,
)


def test_trees_lie_in_rows_as_the_worked_example_says() -> None:
    p, q, x, y, z = 11, 12, 13, 14, 15
    [batch] = pack_trees([Tree([p, q], [[x, y], [z]])], row_length=5, rows=1)
    assert batch.tokens.tolist() == [[p, q, x, y, z]]
    assert batch.ends.tolist() == [[5, 5, 4, 4, 5]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 2]]
    assert [branch.places for branch in batch.branches] == [[0, 1, 2, 3], [0, 1, 4]]
    mask = np.asarray(branch_mask(jnp.asarray(batch.ends)))[0]
    assert mask[2:].astype(int).tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]


def test_trees_never_span_rows_and_share_them_where_they_fit() -> None:
    trees = [Tree([1, 2], [[3]]), Tree([4], [[5, 6]]), Tree([7, 8], [[9]]), Tree([1], [[2], [3]])]
    batches = pack_trees(trees, row_length=6, rows=1)
    assert [batch.tokens.tolist() for batch in batches] == [[[1, 2, 3, 4, 5, 6]], [[7, 8, 9, 1, 2, 3]]]
    mask = np.asarray(branch_mask(jnp.asarray(batches[0].ends)))[0]
    assert not mask[3:, :3].any()


@given(PROMPTS, st.integers(40, 80))
def test_the_branches_of_trees_are_the_prompts_in_order(prompts: list[list[int]], most: int) -> None:
    trees = grow_trees(prompts, most)
    assert [[*tree.root, *branch] for tree in trees for branch in tree.branches] == prompts
    assert all(tree.size <= most and all(tree.branches) for tree in trees)
    assert all(len(tree.root) >= WORTH_SHARING for tree in trees if len(tree.branches) > 1)
    assert sum(tree.size for tree in trees) <= sum(map(len, prompts))


@given(PROMPTS)
def test_every_place_holds_what_the_branch_says(prompts: list[list[int]]) -> None:
    trees = grow_trees(prompts, most=64)
    found: dict[tuple[int, int], list[int]] = {}
    for batch in pack_trees(trees, row_length=64, rows=2):
        flat, positions = batch.tokens.reshape(-1), batch.positions.reshape(-1)
        for branch in batch.branches:
            assert len({place // 64 for place in branch.places}) == 1  # within one row
            assert positions[branch.places].tolist() == list(range(len(branch.places)))
            found[branch.tree, branch.number] = flat[branch.places].tolist()
    assert [found[key] for key in sorted(found)] == prompts


@given(PROMPTS, st.integers(1, 4))
def test_a_row_holds_no_more_branches_than_it_may(prompts: list[list[int]], branches: int) -> None:
    trees = grow_trees(prompts, 64, branches)
    batches = pack_trees(trees, 64, 1, branches)
    assert all(1 <= len(batch.branches) <= branches for batch in batches)
    assert sum(len(batch.branches) for batch in batches) == len(prompts)


def test_a_tree_that_no_row_holds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a tree of 5 tokens in 1 branches is too large for rows of 4$"):
        pack_trees([Tree([1] * 4, [[2]])], row_length=4, rows=1)
    with pytest.raises(ValueError, match=r"a tree of 4 tokens in 3 branches is too large for rows of 9 in 2"):
        pack_trees([Tree([1], [[2], [3], [4]])], row_length=9, rows=1, branches=2)


def test_a_group_ends_where_another_task_begins() -> None:
    one, other = [1] * 20, [2] * 20
    prompts = [[*one, 7], [*one, 8, 9], [*other, 7], [*other, 8]]
    assert grow_trees(prompts, most=64) == [Tree(one, [[7], [8, 9]]), Tree(other, [[7], [8]])]


@pytest.mark.parametrize("seed", [0, 1])
def test_prompts_that_share_more_than_the_stage_go_on_as_if_alone(tiny_policy: Policy, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tasks = [rng.integers(3, 250, 30).tolist() for _ in range(6)]
    prompts = [[1, 2, *task, *rng.integers(3, 250, n).tolist()] for task in tasks for n in (1, 4, 9)]
    greedily = tiny_policy.generate(prompts, temperature=0.0, max_new_tokens=6, slots=8)
    assert as_tokens(greedily) == [[greedy(tiny_policy, prompt, 6)] for prompt in prompts]
    beams = tiny_policy.beam_search(prompts, beams=1, max_new_tokens=6)
    assert [[found[0].tokens] for found in beams] == as_tokens(greedily)
