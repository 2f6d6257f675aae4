"""How many steps prompt lookup would take, beside drafts made by hand."""

from __future__ import annotations

import pytest

from benchmarks.prompt_lookup import count_steps


@pytest.mark.parametrize(
    ("prompt", "said", "drafted", "steps"),
    [
        ([5, 6, 7, 8, 9, 1], [5, 6, 7, 8, 9], 2, 3),  # 5, then 6, then 7 together with drafts 8 and 9
        ([5, 6, 7, 8, 9, 1], [5, 6, 7, 8, 9], 0, 5),
        ([1, 2], [3, 4, 5, 6], 4, 4),  # nothing was said before
        ([1, 2, 9], [4, 1, 2, 8], 4, 4),  # a draft that is never accepted costs nothing but time
        ([7], [1, 2, 3, 1, 2, 3, 1, 2, 3], 2, 7),  # what was said itself is looked up
    ],
)
def test_steps(prompt: list[int], said: list[int], drafted: int, steps: int) -> None:
    assert count_steps(prompt, said, drafted) == steps
