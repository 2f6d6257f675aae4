"""Truncation and the order of training."""

import numpy as np
import pytest

from envisions_jax.training.examples import Example, epoch_batches, fingerprint_examples, truncate


def test_a_long_completion_loses_its_end_and_an_example_without_target_is_dropped() -> None:
    whole = Example([1, 2], [3, 2], "L2", "a")
    cut = Example([1, 2, 3], [7, 8, 9])
    no_room = Example([1, 2, 3, 4, 5], [7])
    empty = Example([1, 2, 3], [])
    kept, shortened, dropped = truncate([whole, cut, no_room, empty], max_length=5)
    assert kept == [whole, Example([1, 2, 3], [7, 8])]
    assert (shortened, dropped) == (1, 2)


def test_an_example_of_just_the_length_is_left_alone() -> None:
    example = Example([1, 2, 3], [7, 2])
    assert truncate([example], max_length=5) == ([example], 0, 0)


def test_an_empty_prompt_and_an_unknown_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="task 't7' has an empty prompt"):
        Example([], [1], "L1", "t7")
    with pytest.raises((ValueError, TypeError), match="L3"):  # TypeError where types are checked, as here
        Example([1], [1], "L3")  # type: ignore[arg-type]


def test_an_epoch_holds_every_example_once_in_batches_of_about_one_size() -> None:
    batches = epoch_batches(num_examples=21, batch_size=8, seed=3, epoch=0)
    assert [len(batch) for batch in batches] == [7, 7, 7]
    assert sorted(np.concatenate(batches)) == list(range(21))
    assert [len(batch) for batch in epoch_batches(5, 128, 3, 0)] == [5]


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(epoch_batches(50, 8, seed, epoch)).tolist()

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_the_fingerprint_sees_order_kind_and_the_border_between_prompt_and_completion() -> None:
    a, b = Example([1, 2], [3]), Example([1], [2, 3])
    variants = [[a, b], [b, a], [a], [b], [Example([1, 2], [3], "L2"), b]]
    assert len({fingerprint_examples(examples) for examples in variants}) == len(variants)
    assert fingerprint_examples([a]) == fingerprint_examples([Example([1, 2], [3], task_id="other")])
