"""The peer's batches, and that both sides of the training benchmark count the same work."""

from __future__ import annotations

from benchmarks.models import Contenders
from benchmarks.training import IGNORED, Workload, collate
from envisions_jax import Policy
from envisions_jax.training import Example, TrainConfig

BATCH = [Example([1, 2], [3, 4]), Example([1], [3, 4])]


def test_collate_pads_on_the_right_and_learns_completions_only() -> None:
    tokens, mask, labels = collate(BATCH, pad_id=0)
    assert tokens.tolist() == [[1, 2, 3, 4], [1, 3, 4, 0]]
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert labels.tolist() == [[IGNORED, IGNORED, 3, 4], [IGNORED, 3, 4, IGNORED]]


def test_padding_changes_the_units_but_not_the_floor(tiny_policy: Policy) -> None:
    def workload(count_padding: bool) -> Workload:
        return Workload(Contenders(tiny_policy, None), [BATCH], TrainConfig(), count_padding)

    padded, real = workload(True).work(BATCH, places=16), workload(False).work(BATCH, places=16)
    assert (padded.units, real.units) == (16, 7)
    assert padded.flops == real.flops
