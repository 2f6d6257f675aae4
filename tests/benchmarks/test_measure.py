"""The clocks and the floor of the benchmark, without running it."""

from __future__ import annotations

import jax
import pytest

from benchmarks.flops import ModelCost
from benchmarks.measure import Case, Measured, Rates, Side, Summary, Turn, Work, interleave
from envisions_jax import Policy
from envisions_jax.training import Example


def measured(name: str, *rates: float) -> Measured:
    return Measured(name, 1.0, tuple(Turn(Work(rate, flops=50.0), 1.0) for rate in rates))


def test_turns_alternate_after_both_are_warm() -> None:
    calls: list[str] = []

    def side(name: str) -> Side:
        def run(turn: int) -> Work:
            calls.append(f"{name}{turn}")
            return Work(turn + 1)

        return Side(name, run, lambda: calls.append(f"warm {name}"))

    ours, peer = interleave(side("a"), side("b"), repeats=3)
    assert calls == ["warm a", "warm b", "a0", "b0", "b1", "a1", "a2", "b2"]
    assert [turn.work.units for turn in ours.turns] == [turn.work.units for turn in peer.turns] == [1, 2, 3]


def test_a_turn_settles_before_its_clock_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("benchmarks.measure.time.perf_counter", lambda: clock[0])

    def pass_time(seconds: float) -> Work:
        clock[0] += seconds
        return Work(1)

    side = Side("ours", lambda turn: pass_time(1), lambda: None, settle=lambda turn: pass_time(100))
    ours, _ = interleave(side, Side("peer", lambda turn: pass_time(5), lambda: None), repeats=2)
    assert clock[0] == 2 * (100 + 1 + 5)
    assert [turn.seconds for turn in ours.turns] == [1, 1]


def test_the_ratio_is_that_of_the_medians_and_its_spread_is_turn_by_turn() -> None:
    case = Case("case", "tokens", measured("ours", 10, 30, 20), measured("peer", 10, 10, 5))
    assert case.ratio == Summary(2.0, 1.0, 4.0)
    assert case.ours.rate == Summary(20, 10, 30)


@pytest.mark.parametrize(
    ("asked", "asked_rate", "holds"),
    [(None, None, None), (2.0, None, True), (2.1, None, False), (2.0, 21, False), (None, 20, True)],
)
def test_what_is_asked_must_hold_altogether(
    asked: float | None, asked_rate: float | None, holds: bool | None
) -> None:
    case = Case("case", "tokens", measured("ours", 20), measured("peer", 10), asked, asked_rate)
    assert case.holds is holds


def test_the_floor_is_reached_as_far_as_time_was_needed() -> None:
    assert measured("ours", 1, 1, 1).floor_reached(Rates(flops=100.0)) == 0.5
    work = Work(1, flops=50.0, bytes=9.0)
    assert Rates(flops=100.0, bytes=10.0).floor(work) == 0.9  # the narrower way
    assert Rates().floor(work) == 0.0


def test_every_matrix_is_counted_once_a_token(tiny_policy: Policy) -> None:
    matrices = [leaf for leaf in jax.tree.leaves(tiny_policy.params) if leaf.ndim == 2]
    config = tiny_policy.config
    tables = config.vocab_size * config.hidden_size * (1 if config.tie_embeddings else 2)
    assert ModelCost(config).weights == sum(leaf.size for leaf in matrices) - tables


def test_a_span_costs_what_its_parts_cost(tiny_policy: Policy) -> None:
    cost = ModelCost(tiny_policy.config)
    assert cost.span(0, 7) == pytest.approx(cost.span(0, 3) + cost.span(3, 4))
    attention = 4.0 * cost.config.num_layers * cost.config.num_heads * cost.config.head_dim
    assert cost.span(2, 1) == 2 * cost.weights + 3 * attention


def test_what_texts_begin_with_alike_is_counted_once(tiny_policy: Policy) -> None:
    cost = ModelCost(tiny_policy.config)
    texts = [[1, 2, 3], [1, 2, 4, 5], [7], [1, 2, 3], [1, 2]]
    once = cost.span(0, 3) + cost.span(2, 2) + cost.span(0, 1)
    assert cost.beginnings(texts) == pytest.approx(once)


def test_sampling_counts_prompts_once_and_all_tokens_but_the_last(tiny_policy: Policy) -> None:
    cost = ModelCost(tiny_policy.config)
    prompts = [[1, 2, 3], [1, 2, 4], [1, 2, 3]]
    assert cost.prompts(prompts) == pytest.approx(cost.beginnings(prompts) + cost.logits(2))
    assert cost.candidates([[1, 2, 3]], [[4, 1]]) == pytest.approx(cost.span(3, 3) + cost.logits(3))


def test_scoring_counts_what_is_scored_twice_once(tiny_policy: Policy) -> None:
    """Behind 1 2: 5 6 9 twice and 5 7. Fed are 1 2 5 6; asked are the tokens after 1 2, 1 2 5 and 1 2 5 6."""
    cost = ModelCost(tiny_policy.config)
    scored = cost.scoring([[1, 2]] * 4, [[5, 6, 9], [5, 7], [5, 6, 9], []])
    assert scored == pytest.approx(cost.span(0, 4) + cost.logits(3))


def test_training_is_three_forward_passes_with_logits_at_targets(tiny_policy: Policy) -> None:
    cost = ModelCost(tiny_policy.config)
    step = [Example([1, 2], [3, 9]), Example([1, 2, 4], [9])]
    assert cost.training([step, step]) == pytest.approx(
        2 * 3 * (cost.span(0, 3) + cost.span(2, 1) + cost.logits(3))
    )


def test_a_stage_without_a_peer_is_judged_by_its_floor() -> None:
    case = Case("case", "tokens", measured("ours", 20), None, asked_floor=0.5, rates=Rates(flops=100.0))
    assert case.ratio is None and case.holds is True and len(case.sides) == 1
    assert (
        Case("case", "tokens", measured("ours", 20), None, asked_floor=0.6, rates=case.rates).holds is False
    )
