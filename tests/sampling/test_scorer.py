"""The scorer against full forwards and against the sampler."""

from __future__ import annotations

import numpy as np
import pytest

from envisions_jax import Policy
from envisions_jax.sampling.scorer import plan_rows
from tests.sampling.test_sampler import PROMPTS, logits_after


def full_log_probs(policy: Policy, prompt: list[int], completion: list[int]) -> np.ndarray:
    logits = logits_after(policy, prompt + completion).astype(np.float64)
    log_probs = logits - logits.max(-1, keepdims=True)
    log_probs -= np.log(np.exp(log_probs).sum(-1, keepdims=True))
    return np.asarray([log_probs[len(prompt) + n - 1, token] for n, token in enumerate(completion)])


def test_scores_equal_full_forwards(tiny_policy: Policy) -> None:
    rng = np.random.default_rng(5)
    completions = [
        [rng.integers(3, 250, rng.integers(0, 30)).tolist() for _ in range(rng.integers(0, 6))]
        for _ in PROMPTS
    ]
    scores = tiny_policy.score(PROMPTS, completions)
    assert [[len(s) for s in group] for group in scores] == [[len(c) for c in group] for group in completions]
    for prompt, group, scored in zip(PROMPTS, completions, scores, strict=True):
        for completion, log_probs in zip(group, scored, strict=True):
            if completion:
                assert np.abs(log_probs - full_log_probs(tiny_policy, prompt, completion)).max() <= 1e-4


def test_sampler_log_probs_are_scorer_log_probs(tiny_policy: Policy) -> None:
    results = tiny_policy.generate(PROMPTS, k=5, temperature=0.6, top_p=0.9, max_new_tokens=24, slots=16)
    scores = tiny_policy.score(PROMPTS, [[g.tokens for g in group] for group in results])
    for group, scored in zip(results, scores, strict=True):
        for generation, log_probs in zip(group, scored, strict=True):
            assert np.abs(generation.log_probs - log_probs).max() <= 1e-3


def test_text_is_scored_with_its_end_on_request(tiny_policy: Policy) -> None:
    [[without]] = tiny_policy.score(["2 + 2 ="], [[" 4"]])
    [[with_end]] = tiny_policy.score(["2 + 2 ="], [[" 4"]], eos=True)
    assert len(with_end) == len(without) + 1
    assert np.abs(with_end[:-1] - without).max() <= 1e-5


def test_a_completion_does_not_see_its_neighbours(tiny_policy: Policy) -> None:
    alone = tiny_policy.score(PROMPTS[:1], [[[5, 6, 7]]])[0][0]
    in_company = tiny_policy.score(PROMPTS[:1], [[[9, 9], [5, 6, 7], [8]]])[0][1]
    assert np.abs(alone - in_company).max() <= 1e-5


def test_equal_completions_have_equal_scores_and_keep_their_places(tiny_policy: Policy) -> None:
    completions = [[[5, 6], [7], [5, 6], []], [[5, 6]]]
    first, second = tiny_policy.score([PROMPTS[0], PROMPTS[0]], completions)
    assert [len(log_probs) for log_probs in first] == [2, 1, 2, 0]
    assert np.abs(first[0] - second[0]).max() <= 1e-5
    assert abs(first[1][0] - full_log_probs(tiny_policy, PROMPTS[0], [7])[0]) <= 1e-4


def test_a_long_group_is_scored_in_several_trees(
    tiny_policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    completions = [[[n, n + 1, n + 2] for n in range(10, 90, 3)]]
    [whole] = tiny_policy.score(PROMPTS[:1], completions)
    monkeypatch.setattr("envisions_jax.sampling.scorer.SCORED_TOKENS", 40)
    [parts] = tiny_policy.score(PROMPTS[:1], completions)
    assert np.abs(np.stack(whole) - np.stack(parts)).max() <= 1e-5


@pytest.mark.parametrize("row_length", [8, 256, 384])
def test_rows_of_any_length_give_the_same_scores(tiny_policy: Policy, row_length: int) -> None:
    """Also those that are too short for the longest prompt with its completion."""
    completions = [[[n, n + 1, n + 2] for n in range(10, 40, 3)] for _ in PROMPTS]
    expected = tiny_policy.score(PROMPTS, completions)
    scores = tiny_policy.score(PROMPTS, completions, row_length=row_length)
    assert np.abs(np.asarray(scores) - np.asarray(expected)).max() <= 1e-5


def test_rows_are_planned_for_what_may_come_and_kept() -> None:
    prompts = [[*range(10), number, *[5] * 80] for number in range(20, 28)]
    completions = [[[number] * 20 for number in range(5)] for _ in prompts]
    planned = plan_rows(prompts, completions, most=64)
    assert planned >= 80 + 5 * 20
    assert plan_rows(prompts, completions, most=64, kept=planned) == planned
    assert plan_rows(prompts, completions, most=64, kept=512) == 512
    assert plan_rows(prompts, completions, most=600, kept=512) >= 81 + 600
    assert plan_rows(prompts, completions, most=64, kept=8192) == planned  # mostly empty
