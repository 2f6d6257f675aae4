"""Beam search against transformers: sequences and scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from envisions_jax import Policy
from tests.models.hf_parity import random_hf_model
from tests.sampling.test_sampler import PROMPTS


@pytest.mark.parametrize("eos", [1, [1, 5, 40]])
@pytest.mark.parametrize("beams", [1, 2, 4])
def test_sequences_and_scores_are_transformers_own(tmp_path: Path, beams: int, eos: int | list[int]) -> None:
    model = random_hf_model(tmp_path, num_key_value_heads=2, eos_token_id=eos, initializer_range=0.3)
    policy = Policy.from_pretrained(tmp_path, dtype="float32")
    prompts = [[token % 96 for token in prompt] for prompt in PROMPTS]
    ours = policy.beam_search(prompts, beams=beams, max_new_tokens=14)
    for prompt, found in zip(prompts, ours, strict=True):
        theirs = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt)),  # else it masks the padding token within the prompt
            num_beams=beams,
            num_return_sequences=beams,
            max_new_tokens=14,
            do_sample=False,
            pad_token_id=3,
            return_dict_in_generate=True,
            output_scores=True,
        )
        if beams == 1:  # plain greedy search there, which has no score
            assert found[0].tokens == theirs.sequences[0, len(prompt) :].tolist()
            continue
        for beam, sequence, score in zip(found, theirs.sequences, theirs.sequences_scores, strict=True):
            assert beam.tokens == sequence[len(prompt) : len(prompt) + len(beam.tokens)].tolist()
            assert (sequence[len(prompt) + len(beam.tokens) :] == 3).all()
            assert abs(beam.score - float(score)) <= 1e-4


def test_one_beam_is_greedy_decoding(tiny_policy: Policy) -> None:
    greedy = tiny_policy.generate(PROMPTS, temperature=0.0, max_new_tokens=10)
    beams = tiny_policy.beam_search(PROMPTS, beams=1, max_new_tokens=10)
    assert [found[0].tokens for found in beams] == [group[0].tokens for group in greedy]


def test_a_beams_score_is_its_mean_log_prob(tiny_policy: Policy) -> None:
    found = tiny_policy.beam_search(PROMPTS, beams=3, max_new_tokens=10)
    scores = tiny_policy.score(PROMPTS, [[beam.tokens for beam in group] for group in found])
    for group, scored in zip(found, scores, strict=True):
        assert [beam.score for beam in group] == sorted((beam.score for beam in group), reverse=True)
        for beam, log_probs in zip(group, scored, strict=True):
            assert abs(beam.score - np.mean(log_probs)) <= 1e-4
