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


def continue_with(model: Any, tokens: list[int], **options: Any) -> Any:
    with torch.no_grad():
        return model.generate(
            torch.tensor([tokens]),
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
            **options,
        )


def test_greedy_is_token_identical_over_64_tokens_for_16_prompts(smollm2: Policy, theirs: Any) -> None:
    results = smollm2.generate(PROMPTS, temperature=0.0, max_new_tokens=64)
    assert smollm2.tokenizer is not None
    for prompt, [ours] in zip(PROMPTS, results, strict=True):
        tokens = smollm2.tokenizer.encode(prompt)
        expected = continue_with(theirs, tokens, max_new_tokens=64).sequences[0, len(tokens) :].tolist()
        assert ours.tokens == expected


def test_beam_search_of_two_is_transformers_own(smollm2: Policy, theirs: Any) -> None:
    found = smollm2.beam_search(PROMPTS[:6], beams=2, max_new_tokens=24)
    assert smollm2.tokenizer is not None
    for prompt, [best, _] in zip(PROMPTS[:6], found, strict=True):
        tokens = smollm2.tokenizer.encode(prompt)
        expected = continue_with(theirs, tokens, num_beams=2, max_new_tokens=24)
        assert best.tokens == expected.sequences[0, len(tokens) :].tolist()
        assert abs(best.score - float(expected.sequences_scores[0])) <= 1e-4


def test_sampler_log_probs_are_scorer_log_probs(smollm2: Policy) -> None:
    results = smollm2.generate(PROMPTS[:8], k=2, temperature=0.7, max_new_tokens=24)
    scores = smollm2.score(PROMPTS[:8], [[g.tokens for g in group] for group in results])
    for group, scored in zip(results, scores, strict=True):
        for generation, log_probs in zip(group, scored, strict=True):
            assert np.abs(generation.log_probs - log_probs).max() <= 1e-3
