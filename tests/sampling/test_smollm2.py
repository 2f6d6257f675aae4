"""Decoding with the embedded default model: token for token what transformers gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from envisions_jax import Policy

pytestmark = pytest.mark.slow

SUBJECTS = [
    "The sea",
    "A list",
    "def add(a, b):",
    "Question: 3 + 4?",
    "Paris",
    "My dog",
    "In 1969",
    "import numpy",
]
PROMPTS = [f"{subject}{tail}" for subject in SUBJECTS for tail in (" is", "\n    x = 1\n")]


@pytest.fixture(scope="module")
def theirs(smollm2: Policy, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("smollm2") / "exported"
    smollm2.save_pretrained(folder)
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def continue_with(model: Any, prompts: list[list[int]], **options: Any) -> Any:
    """transformers' own decoding, all prompts in one batch, padded on the left."""
    length = max(map(len, prompts))
    padded = torch.tensor([[model.config.eos_token_id] * (length - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts])
    with torch.no_grad():
        found = model.generate(
            padded,
            attention_mask=mask,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
            **options,
        )
    return found.sequences[:, length:].tolist(), found.get("sequences_scores")


def without_padding(tokens: list[int], eos: int) -> list[int]:
    """Up to the first EOS: transformers goes on with padding until the longest of the batch has ended."""
    return tokens[: tokens.index(eos) + 1] if eos in tokens else tokens


def test_greedy_is_token_identical_over_64_tokens_for_16_prompts(smollm2: Policy, theirs: Any) -> None:
    results = smollm2.generate(PROMPTS, temperature=0.0, max_new_tokens=64)
    assert smollm2.tokenizer is not None
    prompts = [smollm2.tokenizer.encode(prompt) for prompt in PROMPTS]
    expected, _ = continue_with(theirs, prompts, max_new_tokens=64)
    for [ours], tokens in zip(results, expected, strict=True):
        assert ours.tokens == without_padding(tokens, smollm2.eos_ids[0])


def test_beam_search_of_two_is_transformers_own(smollm2: Policy, theirs: Any) -> None:
    found = smollm2.beam_search(PROMPTS[:6], beams=2, max_new_tokens=24)
    assert smollm2.tokenizer is not None
    prompts = [smollm2.tokenizer.encode(prompt) for prompt in PROMPTS[:6]]
    expected, scores = continue_with(theirs, prompts, num_beams=2, max_new_tokens=24)
    for [best, _], tokens, score in zip(found, expected, scores, strict=True):
        assert best.tokens == without_padding(tokens, smollm2.eos_ids[0])
        assert abs(best.score - float(score)) <= 1e-4


def test_sampler_log_probs_are_scorer_log_probs(smollm2: Policy) -> None:
    results = smollm2.generate(PROMPTS[:8], k=2, temperature=0.7, max_new_tokens=24)
    scores = smollm2.score(PROMPTS[:8], [[g.tokens for g in group] for group in results])
    for group, scored in zip(results, scores, strict=True):
        for generation, log_probs in zip(group, scored, strict=True):
            assert np.abs(generation.log_probs - log_probs).max() <= 1e-3
