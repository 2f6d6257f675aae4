"""Ladders and shared prefixes."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from envisions_jax.sampling.shapes import LENGTH_LADDER, plan, rung
from envisions_jax.sampling.trees import common_prefix

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5)


def test_rung_is_the_lowest_that_holds() -> None:
    assert [rung(n) for n in (0, 32, 33, 128, 32768)] == [32, 32, 48, 128, 32768]
    assert rung(LENGTH_LADDER[-1] + 1) == 2 * LENGTH_LADDER[-1]


@given(PROMPTS)
def test_common_prefix_is_the_longest_that_leaves_each_prompt_a_token(prompts: list[list[int]]) -> None:
    prefix = common_prefix(prompts)
    n = len(prefix)
    assert all(prompt[:n] == prefix and len(prompt) > n for prompt in prompts)
    one_more = {tuple(prompt[: n + 1]) for prompt in prompts}
    assert len(one_more) > 1 or min(map(len, prompts)) == n + 1


def test_a_stage_has_room_for_its_longest_prompt() -> None:
    begin_alike = list(range(100, 110))
    shape = plan([[*begin_alike, 3], [*begin_alike, *range(40)]], max_new_tokens=50)
    assert shape.prefix == tuple(begin_alike)
    assert (shape.prefix_length, shape.prompt_length, shape.new_length) == (256, 48, 64)
    assert (shape.row_length, shape.prefill_rows) == (256, 1)


def test_stages_of_about_one_size_have_one_shape() -> None:
    """Few-shot, zero-shot and refinement prompts of one data set: a run compiles its programs once."""
    lengths = ((200, 60), (14, 60), (20, 63))
    stages = [[[*[1] * prefix, *[n] * own] for n in range(2, 20)] for prefix, own in lengths]
    shapes = {
        (shape.prefix_length, shape.prompt_length, shape.new_length, shape.row_length, shape.prefill_rows)
        for shape in (plan(prompts, 32) for prompts in stages)
    }
    assert len(shapes) == 1


def test_a_beginning_of_few_tokens_is_no_prefix() -> None:
    shape = plan([[1, 2, 3], [1, 2, *range(40)]], max_new_tokens=50)
    assert (shape.prefix, shape.prefix_length, shape.prompt_length) == ((), 0, 48)


def divided(prompts: list[list[int]], k: int = 1) -> tuple[int, int, int]:
    shape = plan(prompts, 8, k)
    return shape.root_length, shape.rest_length, shape.seats


def test_the_candidates_of_a_prompt_have_it_as_their_root() -> None:
    prompts = [[0, n, *[1] * 60] for n in range(4)]
    assert divided(prompts, k=5) == (64, 0, 5)
    assert divided(prompts, k=12) == (64, 0, 6)  # two roots of six each
    assert divided(prompts) == (0, 64, 1)


def test_refinements_of_one_task_have_its_root() -> None:
    attempts = [[0, *[task] * 300, attempt, *[9] * 40] for task in range(1, 5) for attempt in range(5)]
    assert divided(attempts) == (384, 48, 5)


def test_roots_that_save_little_or_stay_empty_are_none() -> None:
    begin_alike = [[0, *[n // 2] * 10, n, *[9] * 60] for n in range(8)]
    assert divided(begin_alike) == (0, 96, 1)
    one_pair = [[0, n, *[n] * 300] for n in range(1, 20)] + [[0, 99, *[99] * 300, n] for n in range(5)]
    assert divided(one_pair) == (0, 384, 1)


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=200), min_size=1, max_size=20),
    st.integers(1, 9),
)
def test_any_prompt_has_room_in_root_and_rest(prompts: list[list[int]], k: int) -> None:
    shape = plan(prompts, 8, k)
    assert max(map(len, prompts)) - len(shape.prefix) <= shape.prompt_length
    assert 1 <= shape.roots(8) <= 8


@given(st.integers(1, 5000))
def test_a_row_holds_any_prompt(length: int) -> None:
    assert plan([[1] * length, [2] * length], 8).row_length >= length


@given(st.integers(128, 1536))
def test_a_quarter_of_the_rows_is_padding_at_most(length: int) -> None:
    row_length = plan([[number] * length for number in range(64)], 8).row_length
    assert row_length // length * length >= 0.75 * row_length


def test_rows_are_long_enough_for_what_prompts_share() -> None:
    """Five attempts at each of four long tasks: a row for a task and its attempts, not for each attempt."""
    prompts = [[*[task] * 700, *[attempt] * 60] for task in range(4) for attempt in range(5, 10)]
    assert plan(prompts, 8).row_length == 1024


def own(*lengths: int) -> list[list[int]]:
    """Prompts of these lengths behind a common beginning."""
    return [[*range(20), *[100 + number] * length] for number, length in enumerate(lengths)]


def test_a_kept_shape_serves_shorter_prompts_with_their_own_prefix() -> None:
    kept = plan(own(60, 30), 16)
    shorter = [[7, *prompt] for prompt in own(40, 30)]
    assert plan(shorter, 16).rest_length == 48
    assert plan(shorter, 16, kept=kept) == dataclasses.replace(kept, prefix=(7, *range(20)))


def test_a_kept_shape_is_left_where_prompts_do_not_fit_or_lose_much() -> None:
    long, short = own(190, 30), own(10, 8)
    assert plan(long, 16, kept=plan(short, 16)) == plan(long, 16)
    assert plan(short, 16, kept=plan(long, 16)) == plan(short, 16)
    for other in (plan(long, 64), plan(long, 16, k=2)):
        assert plan(long, 16, k=3, kept=other) == plan(long, 16, k=3)


def refinements(task: int, attempt: int) -> list[list[int]]:
    """Five attempts of so many tokens at each of eight tasks of so many tokens, none of which begin alike."""
    return [
        [*range(9), 50 + number, *[number] * task, 90 + k, *[k] * attempt]
        for number in range(8)
        for k in range(5)
    ]


def test_a_kept_shape_with_roots_is_left_where_attempts_outgrow_its_rests() -> None:
    kept = plan(refinements(task=300, attempt=40), 16)
    assert (kept.root_length, kept.rest_length, kept.seats) == (384, 48, 5)
    shorter, longer = refinements(task=250, attempt=30), refinements(task=250, attempt=100)
    assert plan(shorter, 16, kept=kept).rest_length == 48
    assert plan(longer, 16, kept=kept) == plan(longer, 16)
    alone = [prompt[10:] for prompt in refinements(task=250, attempt=30)[::5]]  # a root for each candidate
    assert plan(alone, 16, kept=kept) == plan(alone, 16)


def test_a_shape_for_several_candidates_is_none_for_one() -> None:
    prompts = own(60, 30)
    assert plan(prompts, 16, kept=plan(prompts, 16, k=5)) == plan(prompts, 16)


@given(PROMPTS, PROMPTS, st.integers(1, 4))
def test_planning_again_with_what_was_planned_changes_nothing(
    before: list[list[int]], prompts: list[list[int]], k: int
) -> None:
    """So a stage that was killed after its shape was settled has that shape again."""
    shape = plan(prompts, 8, k, kept=plan(before, 8, k))
    assert plan(prompts, 8, k, kept=shape) == shape
    assert max(map(len, prompts)) - len(shape.prefix) <= min(shape.prompt_length, shape.row_length)
