"""The scorer against full forwards and against the sampler."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from envisions_jax import Policy
from envisions_jax.sampling.scorer import Tree, pack_trees, tree_mask
from tests.sampling.test_sampler import PROMPTS


def full_log_probs(policy: Policy, prompt: list[int], completion: list[int]) -> np.ndarray:
    logits = np.asarray(policy.logits(np.asarray([prompt + completion]))[0], np.float64)
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


def test_trees_lie_in_rows_as_the_worked_example_says() -> None:
    p, q, x, y, z = 11, 12, 13, 14, 15
    [batch] = pack_trees([Tree([p, q], [[x, y], [z]])], row_length=5, rows=1)
    assert batch.tokens.tolist() == [[p, q, x, y, z]]
    assert batch.branch.tolist() == [[0, 0, 1, 1, 2]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 2]]
    assert (batch.at, batch.targets) == ([1, 2, 1], [x, y, z])
    mask = np.asarray(tree_mask(jnp.asarray(batch.tree), jnp.asarray(batch.branch)))[0]
    assert mask[2:].astype(int).tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]


def test_trees_never_span_rows_and_share_them_where_they_fit() -> None:
    trees = [Tree([1, 2], [[3]]), Tree([4], [[5, 6]]), Tree([7, 8], [[9]]), Tree([1], [[2], [3]])]
    batches = pack_trees(trees, row_length=6, rows=1)
    assert [batch.tree[batch.tree > 0].tolist() for batch in batches] == [
        [1, 1, 1, 2, 2, 2],
        [3, 3, 3, 4, 4, 4],
    ]
    mask = np.asarray(tree_mask(jnp.asarray(batches[0].tree), jnp.asarray(batches[0].branch)))[0]
    assert not mask[3:, :3].any()
