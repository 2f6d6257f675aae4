"""A refinement prompt leaves room for a refinement, however long the candidate is when read again."""

from types import SimpleNamespace

import pytest

from envisions_jax.config import Config, with_values
from envisions_jax.config_rules import ConfigError
from envisions_jax.prompts import Prompts
from envisions_jax.stages.run import Run, check_ending, check_lengths
from envisions_jax.store import Trajectory
from envisions_jax.testing import tiny_policy
from envs import Task

TASK, PROMPTS = Task("1", "1 and 1?", 2), Prompts("expression")
POLICY = tiny_policy(max_position_embeddings=768)


def candidate(program: str, error: str = "") -> Trajectory:
    return Trajectory(
        iteration=0, stage="explore", task_id="1", k=0, text=program, outcome="wrong", error=error
    )


def refinement_prompt(given: Trajectory, **settings: object) -> str:
    """The refinement prompt of `given` in a run with `settings`."""
    run = SimpleNamespace(config=with_values(Config(), settings), prompts=PROMPTS, tokenizer=POLICY.tokenizer)
    run._told = lambda told: Run._told(run, told)  # type: ignore[arg-type]
    return Run.refinement_prompt(run, TASK, given)  # type: ignore[arg-type]


def test_a_candidate_that_leaves_no_room_is_cut_at_its_end() -> None:
    assert POLICY.tokenizer is not None
    short = len(POLICY.tokenizer.encode(PROMPTS.refine(TASK, "result = 1")))
    settings = {"model.context": short + 20, "sampler.max_new_tokens": 10}
    whole = refinement_prompt(candidate("result = 1"), **settings)
    assert whole == PROMPTS.refine(TASK, "result = 1")
    cut = refinement_prompt(candidate("result = 1" + " + 1" * 100), **settings)
    assert len(POLICY.tokenizer.encode(cut)) <= short + 10
    assert "result = 1 +" in cut and cut.endswith("\nresult =")


def test_what_became_of_a_candidate_is_told_on_demand_and_not_at_length() -> None:
    given = candidate("result = 1", error="no\nname " + "é" * 1_000)
    assert refinement_prompt(given) == PROMPTS.refine(TASK, "result = 1")
    told = refinement_prompt(given, **{"prompt.errors": True})
    [line] = [line for line in told.split("\n") if line.startswith("What happened: ")]
    assert line.startswith("What happened: no name é") and "é" * 100 not in line
    silent = refinement_prompt(candidate("result = 1"), **{"prompt.errors": True})
    assert silent == PROMPTS.refine(TASK, "result = 1")


def test_room_for_what_became_of_a_candidate_is_kept() -> None:
    assert POLICY.tokenizer is not None
    explore = len(POLICY.tokenizer.encode(PROMPTS.explore(TASK, shots=0)))
    refine = len(POLICY.tokenizer.encode(PROMPTS.refine(TASK, PROMPTS.program(""))))
    settings = {"model.context": max(explore, refine + 10) + 10, "sampler.max_new_tokens": 10}
    settings |= {"prompt.shots": 0, "eval.max_new_tokens": 1}
    check_lengths(with_values(Config(), settings), POLICY, PROMPTS, [TASK], [], 0)
    with pytest.raises(ConfigError, match="needs"):
        config = with_values(Config(), {**settings, "prompt.errors": True})
        check_lengths(config, POLICY, PROMPTS, [TASK], [], 0)


def test_a_page_may_be_longer_in_later_turns_and_in_later_iterations() -> None:
    assert POLICY.tokenizer is not None
    prompts, most = Prompts("web", {}), 60
    needed = len(POLICY.tokenizer.encode(prompts.refine(TASK, prompts.program("")))) + 2 * 10
    question = len(POLICY.tokenizer.encode(TASK.question, bos=False))
    settings = {"env.name": "web", "prompt.style": "web", "prompt.shots": 0, "web.most_tokens": most}
    settings |= {"sampler.max_new_tokens": 10, "eval.max_new_tokens": 1}

    def check(context: int, turns: int, train: list[Task]) -> None:
        config = with_values(Config(), {**settings, "model.context": context, "web.turns": turns})
        check_lengths(config, POLICY, prompts, train, [TASK], 0)

    for turns in (1, 2):  # of the next iteration's pages as of the next turn's
        check(needed + most - question, turns, [TASK])
        with pytest.raises(ConfigError, match="needs"):
            check(needed + most - question - 1, turns, [TASK])
    tested = len(POLICY.tokenizer.encode(prompts.explore(TASK, shots=0))) + 1
    check(tested, 1, [])  # the pages that are tested on are these
    with pytest.raises(ConfigError, match="needs"):
        check(tested, 2, [])


def test_a_model_without_an_end_of_sequence_is_refused() -> None:
    with pytest.raises(ConfigError, match="no end-of-sequence token"):
        check_ending(tiny_policy(vocab_size=100, eos_token_ids=()))
