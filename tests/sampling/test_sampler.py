"""Slots, refill, shared prefixes and stops, against decoding one candidate at a time with full forwards."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from envisions_jax import Policy
from envisions_jax.sampling import decode
from envisions_jax.sampling.cache import CacheForm
from envisions_jax.sampling.results import Generation

RNG = np.random.default_rng(0)
SHARED = [1, *RNG.integers(3, 250, 9).tolist()]
PROMPTS = [SHARED + RNG.integers(3, 250, n).tolist() for n in (3, 9, 1, 7, 5, 6, 8, 2, 4)]


def logits_after(policy: Policy, tokens: list[int]) -> np.ndarray:
    """`policy.logits` of one text, computed with padding behind it, which no token sees: one program."""
    padded = tokens + [0] * (-len(tokens) % 64)
    return np.asarray(policy.logits(np.asarray([padded]))[0, : len(tokens)])


def greedy(policy: Policy, prompt: list[int], new: int) -> list[int]:
    """The most likely continuation by recomputing everything for every token."""
    tokens = list(prompt)
    for _ in range(new):
        tokens.append(int(logits_after(policy, tokens)[-1].argmax()))
        if tokens[-1] in policy.eos_ids:
            break
    return tokens[len(prompt) :]


def as_tokens(results: list[list[Generation]]) -> list[list[list[int]]]:
    return [[generation.tokens for generation in group] for group in results]


def test_greedy_decoding_equals_full_forwards(tiny_policy: Policy) -> None:
    results = tiny_policy.generate(PROMPTS, temperature=0.0, max_new_tokens=12, slots=8)
    assert as_tokens(results) == [[greedy(tiny_policy, prompt, 12)] for prompt in PROMPTS]


def test_greedy_decoding_behind_roots_equals_full_forwards(tiny_policy: Policy) -> None:
    """Three attempts at each of five tasks; one alone in its shard; too few roots for all slots."""
    tasks = [RNG.integers(3, 250, 188 + n).tolist() for n in range(5)]
    prompts = [SHARED + task + RNG.integers(3, 250, 1 + n).tolist() for task in tasks for n in range(3)]
    shape = tiny_policy.plan_stage(prompts, 12)
    assert shape.root_length and shape.rest_length and shape.roots(8) < len(tasks)
    expected = [[greedy(tiny_policy, prompt, 12)] for prompt in prompts]
    for part in (slice(0, 15), slice(2, 4)):
        results = tiny_policy.generate(
            prompts[part], temperature=0.0, max_new_tokens=12, slots=8, shape=shape
        )
        assert as_tokens(results) == expected[part]


def test_more_prompts_than_a_row_has_places_for_logits_equal_full_forwards(tiny_policy: Policy) -> None:
    prompts = [[1, 3 + n] for n in range(70)]
    shape = tiny_policy.plan_stage(prompts, 4)
    assert shape.prefill_rows * shape.row_prompts < len(prompts) < shape.row_length
    expected = [[greedy(tiny_policy, prompt, 4)] for prompt in prompts]
    results = tiny_policy.generate(prompts, temperature=0.0, max_new_tokens=4, slots=8)
    assert as_tokens(results) == expected
    told: dict[int, list[list[int]]] = {}
    tiny_policy.beam_search(
        prompts,
        beams=1,
        max_new_tokens=4,
        slots=32,
        finished=lambda number, found: told.update({number: [beam.tokens for beam in found]}),
    )
    assert [told[number] for number in range(len(prompts))] == expected


def test_cached_log_probs_equal_a_full_forward(tiny_policy: Policy) -> None:
    [[generation]] = tiny_policy.generate([PROMPTS[0]], max_new_tokens=20, seed=3)
    row = PROMPTS[0] + generation.tokens
    logits = logits_after(tiny_policy, row).astype(np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    start = len(PROMPTS[0])
    full = [log_probs[start + n - 1, token] for n, token in enumerate(generation.tokens)]
    assert np.abs(np.asarray(full) - generation.log_probs).max() <= 1e-4


def test_candidates_do_not_depend_on_batch_order_or_company(tiny_policy: Policy) -> None:
    def sample(prompts: list[list[int]], slots: int) -> list[list[Generation]]:
        return tiny_policy.generate(
            prompts, k=3, temperature=0.9, top_p=0.95, max_new_tokens=16, seed=7, slots=slots
        )

    together = sample(PROMPTS, slots=16)
    backwards = sample(PROMPTS[::-1], slots=8)[::-1]
    alone = [sample([prompt], slots=3)[0] for prompt in PROMPTS[:3]]
    assert as_tokens(together) == as_tokens(backwards)
    assert as_tokens(together)[:3] == as_tokens(alone)
    different = tiny_policy.generate(PROMPTS, k=3, temperature=0.9, max_new_tokens=16, seed=8)
    assert as_tokens(different) != as_tokens(together)


def test_a_shard_sampled_again_alone_gives_the_same_bits(tiny_policy: Policy) -> None:
    shape = tiny_policy.plan_stage(PROMPTS, 16)
    ids = [str(n) for n in range(len(PROMPTS))]
    whole = tiny_policy.generate(PROMPTS, k=2, max_new_tokens=16, ids=ids, slots=8, shape=shape)
    again = tiny_policy.generate(PROMPTS[4:8], k=2, max_new_tokens=16, ids=ids[4:8], slots=8, shape=shape)
    once_more = tiny_policy.generate(PROMPTS[4:8], k=2, max_new_tokens=16, ids=ids[4:8], slots=8, shape=shape)
    assert as_tokens(whole)[4:8] == as_tokens(again)
    for first, second in zip(again, once_more, strict=True):
        for a, b in zip(first, second, strict=True):
            assert (a.log_probs == b.log_probs).all()


def test_equal_prompts_with_names_of_their_own_differ(tiny_policy: Policy) -> None:
    results = tiny_policy.generate([PROMPTS[0]] * 3, max_new_tokens=16, ids=["a", "b", "a"])
    a, b, again = (group[0].tokens for group in results)
    assert a == again != b


def test_equal_prompts_without_names_are_equal(tiny_policy: Policy) -> None:
    first, second = as_tokens(tiny_policy.generate([PROMPTS[0]] * 2, k=2, max_new_tokens=16))
    assert first == second and first[0] != first[1]


def test_stop_strings_end_candidates_and_are_cut_off(tiny_policy: Policy) -> None:
    free = tiny_policy.generate(PROMPTS, k=4, max_new_tokens=24, seed=1)
    letter = next(c for group in free for g in group for c in g.text[2:] if c.isascii() and c.isalpha())
    stopped = tiny_policy.generate(PROMPTS, k=4, max_new_tokens=24, seed=1, stop=[letter])
    for whole, cut in zip(itertools.chain(*free), itertools.chain(*stopped), strict=True):
        assert letter not in cut.text
        if letter in whole.text:
            assert cut.finish_reason == "stop"
            assert cut.text == whole.text[: whole.text.index(letter)]
            assert whole.tokens[: len(cut.tokens)] == cut.tokens
        else:
            assert cut.tokens == whole.tokens
    assert any(g.finish_reason == "stop" for group in stopped for g in group)


def test_limits_are_the_callers_and_the_contexts(tiny_policy: Policy) -> None:
    context = tiny_policy.config.max_position_embeddings
    long = RNG.integers(3, 250, context - 4).tolist()
    for prompt, room in ((PROMPTS[0], 10), (long, 4)):
        [group] = tiny_policy.generate([prompt], k=6, max_new_tokens=10)
        for generation in group:
            assert len(generation.tokens) <= room
            assert (generation.finish_reason == "eos") or len(generation.tokens) == room
            assert len(generation.log_probs) == len(generation.tokens)


def test_progress_counts_every_candidate(tiny_policy: Policy) -> None:
    seen: list[int] = []
    tiny_policy.generate(PROMPTS, k=3, max_new_tokens=4, progress=seen.append)
    assert sum(seen) == 3 * len(PROMPTS)


def test_nothing_in_gives_nothing_out(tiny_policy: Policy) -> None:
    assert tiny_policy.generate([], k=3) == []
    assert tiny_policy.beam_search([], beams=2) == []
    assert tiny_policy.score([], []) == []


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 0.9)])
def test_first_tokens_follow_the_models_distribution(
    tiny_policy: Policy, temperature: float, top_p: float
) -> None:
    from scipy import stats

    from tests.sampling.test_choose import nucleus, softmax

    logits = logits_after(tiny_policy, PROMPTS[0])[-1].astype(np.float64)
    expected = softmax(logits / temperature)
    expected = nucleus(expected, top_p) if top_p < 1 else expected
    k = 2_000
    [group] = tiny_policy.generate(
        [PROMPTS[0]], k=k, temperature=temperature, top_p=top_p, max_new_tokens=1, slots=64
    )
    counts = np.bincount([g.tokens[0] for g in group], minlength=len(expected))
    common = expected * k >= 5
    observed = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum()) * k
    keep = wanted > 0
    assert observed[~keep].sum() == 0
    assert stats.chisquare(observed[keep], wanted[keep] * observed.sum() / wanted[keep].sum()).pvalue > 1e-3


def test_who_has_no_root_reads_none_of_the_others(tiny_policy: Policy) -> None:
    """Short prompts that begin like no other, in a stage whose other candidates share roots."""
    beginning = list(range(20, 34))
    shared = [[*beginning, 60 + n, *[n + 3] * 245, 90 + k, 7] for n in range(8) for k in range(4)]
    alone = [[*beginning, 80 + n, *[n + 40] * 6] for n in range(6)]
    prompts = [prompt for place in range(8) for prompt in (*shared[4 * place :][:4], *alone[place:][:1])]
    shape = tiny_policy.plan_stage(prompts, 24)
    assert shape.root_length and shape.rest_length
    found = tiny_policy.generate(prompts, max_new_tokens=24, temperature=0.8, slots=16, shape=shape)
    for prompt, [candidate] in zip(prompts, found, strict=True):
        if prompt in alone:
            [[expected]] = tiny_policy.generate([prompt], max_new_tokens=24, temperature=0.8)
            assert candidate.tokens == expected.tokens
            assert np.abs(candidate.log_probs - expected.log_probs).max() <= 1e-4


@pytest.mark.parametrize("k", [1, 5])
def test_the_last_few_say_the_same_where_they_move_together(tiny_policy: Policy, k: int) -> None:
    """With many slots candidates move when few are left; with few slots they stay where they are."""
    beginning = list(range(20, 34))
    refinements = [[*beginning, 60 + n, *[n + 3] * 245, 90 + j, 7] for n in range(8) for j in range(4)]
    prompts = [*refinements, *([*beginning, 80 + n, *[n + 40] * 6] for n in range(12))]
    settings = {"k": k, "max_new_tokens": 80, "temperature": 0.9, "top_p": 0.95, "seed": 5}
    settings["stop"] = [*"abcdefghijkl"]  # candidates of many lengths
    stay = tiny_policy.generate(prompts, slots=24, **settings)
    move = tiny_policy.generate(prompts, slots=48, **settings)
    lengths = {len(candidate.tokens) for candidates in stay for candidate in candidates}
    assert min(lengths) < 20 and max(lengths) == 80
    if k == 1:  # all enter at once: there are steps of 5 to 16 of them, and of fewer
        longest = sorted((len(candidate.tokens) for [candidate] in stay), reverse=True)
        assert longest[16] < longest[4] < longest[0]
    for one, other in zip(stay, move, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a.tokens, a.finish_reason) == (b.tokens, b.finish_reason)
            assert np.abs(a.log_probs - b.log_probs).max() <= 1e-5


def test_a_call_that_is_refilled_and_then_runs_out_loses_nobody(tiny_policy: Policy) -> None:
    prompts = [[5, 6, n] for n in range(10, 110)]
    found = tiny_policy.generate(prompts, max_new_tokens=16, slots=32)
    alone = tiny_policy.generate(prompts, max_new_tokens=16, slots=8)
    assert [x.tokens for [x] in found] == [x.tokens for [x] in alone]


@pytest.mark.parametrize("k", [1, 5])
def test_caches_with_channels_last_hold_the_same(
    tiny_policy: Policy, monkeypatch: pytest.MonkeyPatch, k: int
) -> None:
    """As on TPUs. Slots of their own, so that the programs are."""
    settings = {"k": k, "max_new_tokens": 13, "seed": 5}
    expected = tiny_policy.generate(PROMPTS, slots=7, **settings)
    monkeypatch.setattr(decode, "form_of", lambda layout: CacheForm(channels_last=True))
    found = tiny_policy.generate(PROMPTS, slots=6, **settings)
    assert as_tokens(found) == as_tokens(expected)
    for one, other in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-5)
