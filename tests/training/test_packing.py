"""Packing: the worked example of the docstring, and that nothing is lost or misplaced."""

import numpy as np
import pytest

from envisions_jax.training.examples import Example
from envisions_jax.training.packing import Microbatch, RowShape, pack, row_shapes


def random_examples(count: int, longest: int, seed: int = 0) -> list[Example]:
    rng = np.random.default_rng(seed)
    examples = []
    for i in range(count):
        prompt = rng.integers(3, 250, rng.integers(1, longest)).tolist()
        completion = [*rng.integers(3, 250, rng.integers(0, 9)).tolist(), 2]
        examples.append(Example(prompt, completion, "L2" if i % 3 == 0 else "L1", str(i)))
    return examples


def unpack(microbatches: list[Microbatch]) -> list[tuple[list[int], list[int]]]:
    """(prompt, completion) of every segment, read from the arrays alone."""
    found = []
    for batch in microbatches:
        length = batch.tokens.shape[1]
        used = int(batch.num_targets)
        for row, column in np.ndindex(batch.tokens.shape):
            if batch.segment_ids[row, column] == 0 or batch.positions[row, column] != 0:
                continue
            segment = batch.segment_ids[row] == batch.segment_ids[row, column]
            tokens = batch.tokens[row][segment].tolist()
            first, last = row * length + np.flatnonzero(segment)[[0, -1]]
            index = batch.target_index[:used]
            mine = (index >= first) & (index <= last)
            completion = batch.target_ids[:used][mine].tolist()
            assert index[mine].tolist() == list(range(last - len(completion) + 1, last + 1))
            assert (
                tokens[len(tokens) - len(completion) + 1 :] == completion[:-1]
            )  # fed what it predicted before
            found.append((tokens[: len(tokens) - len(completion) + 1], completion))
    return found


def test_the_worked_example() -> None:
    a, b = Example([11, 12, 13], [14, 2]), Example([21], [22, 2], "L2")
    (batch,) = pack([b, a], [RowShape(1, 8)])
    assert batch.tokens.tolist() == [[11, 12, 13, 14, 21, 22, 0, 0]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 0, 1, 0, 0]]
    assert batch.segment_ids.tolist() == [[1, 1, 1, 1, 2, 2, 0, 0]]
    assert batch.target_index.tolist() == [2, 3, 4, 5, 0, 0, 0, 0]
    assert batch.target_ids.tolist() == [14, 2, 22, 2, 0, 0, 0, 0]
    assert batch.target_weights.tolist() == [0.25, 0.25, 0.25, 0.25, 0, 0, 0, 0]
    assert batch.target_kinds.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert batch.num_targets == 4


def test_every_example_is_there_once_and_weights_sum_to_one() -> None:
    examples = random_examples(40, longest=60)
    microbatches = pack(examples, row_shapes(rows=2, row_length=64, max_length=128))
    expected = [(list(e.prompt_tokens), list(e.completion_tokens)) for e in examples]
    assert sorted(unpack(microbatches)) == sorted(expected)
    assert sum(batch.target_weights.sum(dtype=np.float64) for batch in microbatches) == pytest.approx(1)
    for batch in microbatches:
        share = 1 / len(examples)
        index = batch.target_index[: batch.num_targets]
        segment = batch.segment_ids.ravel()[index] + 1000 * (index // batch.tokens.shape[1])
        for one in np.unique(segment):
            total = batch.target_weights[: batch.num_targets][segment == one].sum(dtype=np.float64)
            assert total == pytest.approx(share)


def test_rows_are_filled_tightly() -> None:
    examples = random_examples(128, longest=120)
    microbatches = pack(examples, [RowShape(4, 256)])
    tokens = sum(example.row_tokens for example in examples)
    rows = sum(bool(row.any()) for batch in microbatches for row in batch.segment_ids)
    assert rows <= tokens / 256 / 0.95 + 1


@pytest.mark.parametrize(("rows", "shapes"), [(3, [4]), (4, [4]), (5, [4, 1]), (6, [4, 1, 1]), (7, [4, 4])])
def test_a_few_rows_too_many_go_one_by_one(rows: int, shapes: list[int]) -> None:
    examples = [Example([5] * 6, [7, 2]) for _ in range(rows)]  # one fills a row of eight
    batches = pack(examples, [RowShape(4, 8)])
    assert [batch.tokens.shape for batch in batches] == [(size, 8) for size in shapes]
    assert sorted(unpack(batches)) == [([5] * 6, [7, 2])] * rows
    assert sum(batch.target_weights.sum() for batch in batches) == pytest.approx(1)


def test_a_long_example_gets_a_long_row_and_short_ones_fill_it() -> None:
    shapes = row_shapes(rows=4, row_length=16, max_length=100)
    assert shapes == [RowShape(4, 16), RowShape(2, 32), RowShape(1, 64), RowShape(1, 100)]
    long, short = Example(range(1, 41), [2]), Example([5], [6, 2])
    (batch,) = pack([short, long], shapes)
    assert batch.tokens.shape == (1, 64)
    assert batch.segment_ids.max() == 2


def test_what_truncate_would_have_dropped_is_refused() -> None:
    with pytest.raises(ValueError, match="truncate"):
        pack([Example(range(1, 40), [2])], [RowShape(1, 16)])
    with pytest.raises(ValueError, match="0 targets"):
        pack([Example([1], [])], [RowShape(1, 16)])
