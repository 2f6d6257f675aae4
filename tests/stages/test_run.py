"""A refinement prompt leaves room for a refinement, however long the candidate is when read again."""

from types import SimpleNamespace

import pytest

from envisions_jax.config import Config, with_values
from envisions_jax.config_rules import ConfigError
from envisions_jax.prompts import Prompts
from envisions_jax.stages.run import Run, check_ending
from envisions_jax.testing import tiny_policy
from envs import Task

TASK, PROMPTS = Task("1", "1 and 1?", 2), Prompts("expression")


def test_a_candidate_that_leaves_no_room_is_cut_at_its_end() -> None:
    policy = tiny_policy(max_position_embeddings=768)
    assert policy.tokenizer is not None
    short = len(policy.tokenizer.encode(PROMPTS.refine(TASK, "result = 1")))
    config = with_values(Config(), {"model.context": short + 20, "sampler.max_new_tokens": 10})
    run = SimpleNamespace(config=config, prompts=PROMPTS, tokenizer=policy.tokenizer)
    assert Run.refinement_prompt(run, TASK, "result = 1") == PROMPTS.refine(TASK, "result = 1")  # type: ignore[arg-type]
    cut = Run.refinement_prompt(run, TASK, "result = 1" + " + 1" * 100)  # type: ignore[arg-type]
    assert len(policy.tokenizer.encode(cut)) <= short + 10
    assert "result = 1 +" in cut and cut.endswith("\nresult =")


def test_a_model_without_an_end_of_sequence_is_refused() -> None:
    with pytest.raises(ConfigError, match="no end-of-sequence token"):
        check_ending(tiny_policy(vocab_size=100, eos_token_ids=()))
