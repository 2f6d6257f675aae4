"""Packing: the worked example of the docstring, and that nothing is lost or misplaced."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envisions_jax.training.config import longest_row, row_lengths
from envisions_jax.training.examples import Example, all_batches
from envisions_jax.training.packing import Microbatch, RowShape, pack, row_shapes, stacks
from envisions_jax.training.row_length import cheapest_row_length, typical_steps


def random_examples(count: int, longest: int, seed: int = 0) -> list[Example]:
    rng = np.random.default_rng(seed)
    examples = []
    for i in range(count):
        prompt = rng.integers(3, 250, rng.integers(1, longest)).tolist()
        completion = [*rng.integers(3, 250, rng.integers(0, 9)).tolist(), 2]
        examples.append(Example(prompt, completion, "L2" if i % 3 == 0 else "L1", str(i)))
    return examples


def unpack(microbatches: list[Microbatch]) -> list[tuple[list[int], list[int]]]:
    """(prompt, completion) of every example, read from the arrays alone."""
    found: list[tuple[list[int], list[int]]] = []
    for batch in microbatches:
        length, before = batch.tokens.shape[1], -1
        used = slice(int(batch.num_targets))
        for index, target in zip(batch.target_index[used], batch.target_ids[used], strict=True):
            row, place = divmod(int(index), length)
            path = [s for s in range(place + 1) if place < batch.ends[row, s]]
            tokens = batch.tokens[row, path].tolist()
            assert batch.positions[row, path].tolist() == list(range(len(path)))
            goes_on = before >= 0 and len(path) > 1 and row * length + path[-2] == before
            if goes_on and tokens[-1] == found[-1][1][-1]:  # fed what it predicted before
                found[-1][1].append(int(target))
            else:
                found.append((tokens, [int(target)]))
            before = int(index)
    return found


def test_the_worked_example() -> None:
    a, b = Example([11, 12, 13], [14, 2]), Example([11, 12, 21], [22, 2], "L2")
    (batch,) = pack([b, a], [RowShape(1, 8)])
    assert batch.tokens.tolist() == [[11, 12, 13, 14, 21, 22, 0, 0]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 2, 3, 0, 0]]
    assert batch.ends.tolist() == [[6, 6, 4, 4, 6, 6, 0, 0]]
    assert batch.target_index.tolist() == [2, 3, 4, 5, 0, 0, 0, 0]
    assert batch.target_ids.tolist() == [14, 2, 22, 2, 0, 0, 0, 0]
    assert batch.target_weights.tolist() == [0.25, 0.25, 0.25, 0.25, 0, 0, 0, 0]
    assert batch.target_kinds.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert batch.num_targets == 4


TOKENS = st.integers(1, 3)  # few different ones, so that examples begin alike
EXAMPLES = st.lists(
    st.builds(
        Example,
        st.lists(TOKENS, min_size=1, max_size=30),
        st.lists(TOKENS, max_size=6).map(lambda tokens: [*tokens, 9]),
    ),
    min_size=1,
    max_size=12,
)


@given(EXAMPLES)
def test_whatever_examples_share_each_is_there_as_if_alone(examples: list[Example]) -> None:
    microbatches = pack(examples, row_shapes(rows=2, row_length=24, max_length=48))
    expected = sorted((list(e.prompt_tokens), list(e.completion_tokens)) for e in examples)
    assert sorted(unpack(microbatches)) == expected
    for batch in microbatches:
        assert batch.num_targets <= batch.tokens.size
    places = sum(int((batch.ends > 0).sum()) for batch in microbatches)
    assert places <= sum(example.row_tokens for example in examples)


def test_what_all_begin_with_is_there_once_a_row() -> None:
    examples = [Example([*range(10, 30), n], [2], "L1", str(n)) for n in range(40, 48)]
    (batch,) = pack(examples, [RowShape(1, 32)])
    assert int((batch.ends > 0).sum()) == 20 + 8
    assert batch.ends[0, :20].tolist() == [28] * 20


def test_an_example_goes_where_it_shares_most() -> None:
    first, second = list(range(10, 26)), list(range(40, 52))
    long = [Example([*first, 1], [2]), Example([*second, 3, 4], [2])]  # a row each, none is full
    for shared, row in ((8, 1), (7, 0)):  # fewer than eight do not count: then it is the first with room
        (batch,) = pack([*long, Example([*second[:shared], 5, 6], [2])], [RowShape(2, 27)])
        assert [bool((batch.tokens[r] == 6).any()) for r in (0, 1)] == [row == 0, row == 1]


def test_a_row_takes_no_more_targets_than_it_has_places() -> None:
    same = [Example([5], [6] * 9 + [2]) for _ in range(4)]
    batches = pack(same, [RowShape(1, 24)])
    assert [int(batch.num_targets) for batch in batches] == [20, 20]
    assert sorted(unpack(batches)) == [([5], [6] * 9 + [2])] * 4


def test_every_example_is_there_once_and_weights_sum_to_one() -> None:
    examples = random_examples(40, longest=60)
    microbatches = pack(examples, row_shapes(rows=2, row_length=64, max_length=128))
    expected = [(list(e.prompt_tokens), list(e.completion_tokens)) for e in examples]
    assert sorted(unpack(microbatches)) == sorted(expected)
    assert sum(batch.target_weights.sum(dtype=np.float64) for batch in microbatches) == pytest.approx(1)
    shares = np.concatenate([batch.target_weights[: batch.num_targets] for batch in microbatches])
    counts = [len(completion) for _, completion in unpack(microbatches)]
    of_each = np.split(shares, np.cumsum(counts)[:-1])
    for share in of_each:
        assert share.sum(dtype=np.float64) == pytest.approx(1 / len(examples))


def test_rows_are_filled_tightly() -> None:
    examples = random_examples(128, longest=120)
    microbatches = pack(examples, [RowShape(4, 256)])
    tokens = sum(example.row_tokens for example in examples)
    rows = sum(bool(row.any()) for batch in microbatches for row in batch.ends)
    assert rows <= tokens / 256 / 0.95 + 1


@pytest.mark.parametrize(("rows", "shapes"), [(3, [4]), (4, [4]), (5, [4, 1]), (6, [4, 1, 1]), (7, [4, 4])])
def test_a_few_rows_too_many_go_one_by_one(rows: int, shapes: list[int]) -> None:
    examples = [Example([10 + n] * 7, [7, 2]) for n in range(rows)]  # one fills a row of eight
    batches = pack(examples, [RowShape(4, 8)])
    assert [batch.tokens.shape for batch in batches] == [(size, 8) for size in shapes]
    assert sorted(unpack(batches)) == [([10 + n] * 7, [7, 2]) for n in range(rows)]
    assert sum(batch.target_weights.sum() for batch in batches) == pytest.approx(1)


def test_a_long_example_gets_a_long_row_and_short_ones_fill_it() -> None:
    shapes = row_shapes(rows=4, row_length=16, max_length=100)
    assert shapes == [RowShape(4, 16), RowShape(2, 32), RowShape(1, 64), RowShape(1, 100)]
    long, short = Example(range(1, 41), [2]), Example([5], [6, 2])
    (batch,) = pack([short, long], shapes)
    assert batch.tokens.shape == (1, 64)
    assert int((batch.ends > 0).sum()) == 42 and batch.ends[0, 0] == 40


LENGTHS = (256, 320, 384, 416, 448, 480, 512)


@pytest.mark.parametrize(
    ("kept", "best"),
    [
        (None, 448),  # 7 fit a row, so that two do: 2 x 638; next are two of 480, 2 x 670
        (480, 480),  # 1.05 times as much
        (512, 448),  # 1.1003 times as much
        (416, 448),  # three rows
        (64, 448),  # is none of them
    ],
)
def test_the_row_length_is_that_in_which_steps_cost_least(kept: int | None, best: int) -> None:
    step = [Example([n + 3] * 58, [7, 8, 2]) for n in range(14)]  # 60 places each, that share nothing
    assert cheapest_row_length([step, step], 1, 512, LENGTHS, kept) == best


@pytest.mark.parametrize(
    ("examples", "batch_size", "steps"),
    [(25, 16, 16), (500, 16, 16), (700, 600, 1), (16, 16, 1), (9, 600, 1)],
)
def test_typical_steps_are_as_large_as_steps_of_a_large_training(
    examples: int, batch_size: int, steps: int
) -> None:
    all_of_them = [Example([n + 3], [2]) for n in range(examples)]
    drawn = typical_steps(all_of_them, batch_size)
    assert [len(step) for step in drawn] == [min(examples, batch_size)] * steps
    assert all(len({example.prompt_tokens for example in step}) == len(step) for step in drawn)
    assert drawn == typical_steps(all_of_them, batch_size)
    seen = {example.prompt_tokens for step in drawn for example in step}
    assert len(seen) > 0.3 * examples
    assert steps == 1 or drawn[0] != drawn[1]


def test_few_examples_get_the_rows_that_many_of_them_will_need() -> None:
    """25 examples are trained on in steps of 13 and 12, which two rows of 448 hold; steps of 16 take 480."""
    few, many = [[Example([n + 3] * 58, [7, 8, 2]) for n in range(count)] for count in (25, 500)]
    assert cheapest_row_length(typical_steps(few, 16), 1, 512, LENGTHS) == 480
    assert cheapest_row_length(typical_steps(many, 16), 1, 512, LENGTHS) == 480
    steps = [[few[i] for i in batch] for batch in all_batches(25, 16, 0, 1)]
    assert cheapest_row_length(steps, 1, 512, LENGTHS) == 448


def test_a_row_length_is_found_for_examples_longer_than_any() -> None:
    assert cheapest_row_length([[Example(range(900), [2])]], 1, 1024, LENGTHS) == 480  # twice that, not 1,024


@given(EXAMPLES, st.sampled_from([8, 16, 24, 32]))
def test_deciding_again_what_was_decided_changes_nothing(examples: list[Example], kept: int) -> None:
    decided = cheapest_row_length([examples], 2, 64, (8, 16, 24, 32), kept)
    assert cheapest_row_length([examples], 2, 64, (8, 16, 24, 32), decided) == decided


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_accelerators_choose_from_lengths_that_their_attention_takes(platform: str) -> None:
    lengths = row_lengths(platform)
    assert list(lengths) == sorted(lengths) and longest_row(0, platform) == lengths[-1]
    assert platform == "cpu" or all(length % 128 == 0 for length in lengths)
    assert longest_row(100, platform) == 100


def test_rows_whose_length_is_still_to_be_chosen_have_no_shapes() -> None:
    with pytest.raises(ValueError, match="plan_rows"):
        row_shapes(1, 0, 64)


def test_stacks_hold_microbatches_of_one_shape_in_their_order() -> None:
    shapes = [RowShape(1, 8), RowShape(1, 16)]
    examples = [Example([10 + n] * 7, [7, 2]) for n in range(5)] + [Example([9] * 12, [2])]
    microbatches = pack(examples, shapes)
    stacked = stacks(microbatches, 2)
    assert [count for _, count in stacked] == [2, 2, 1, 1]
    assert [stack.tokens.shape for stack, _ in stacked] == [(2, 1, 8)] * 3 + [(2, 1, 16)]
    used = [Microbatch(*(array[i] for array in stack)) for stack, count in stacked for i in range(count)]
    for batch, expected in zip(used, microbatches, strict=True):
        for array, same in zip(batch, expected, strict=True):
            np.testing.assert_array_equal(array, same)
            assert array.dtype == same.dtype
    assert stacked[-1][0].num_targets.tolist() == [1, 0]


def test_what_truncate_would_have_dropped_is_refused() -> None:
    with pytest.raises(ValueError, match="truncate"):
        pack([Example(range(1, 40), [2])], [RowShape(1, 16)])
    with pytest.raises(ValueError, match="0 targets"):
        pack([Example([1], [])], [RowShape(1, 16)])
