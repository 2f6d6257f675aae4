"""Shapes that were settled, and what is read of them."""

import dataclasses
from pathlib import Path

import pytest

from envisions_jax.config import Config, SamplerConfig
from envisions_jax.policy import Policy
from envisions_jax.sampling.shapes import StageShape
from envisions_jax.stages.run import Run
from envisions_jax.stages.shapes import settle_score_rows, settle_shape, settle_train_rows
from envisions_jax.store import TrajectoryStore
from envisions_jax.training import Example, TrainConfig, Trainer
from envisions_jax.workdir import WorkDir

NEW = 50


@pytest.fixture
def run(tmp_path: Path, tiny_policy: Policy) -> Run:
    """All that settling needs of one."""
    run = object.__new__(Run)
    config = Config(sampler=SamplerConfig(max_new_tokens=NEW))
    parts = {"config": config, "base": tiny_policy, "store": TrajectoryStore(tmp_path / "store.sqlite")}
    parts["workdir"] = WorkDir(tmp_path)
    for name, value in parts.items():
        object.__setattr__(run, name, value)
    return run


def settle(run: Run, iteration: int, *prompts: str) -> StageShape:
    return settle_shape(run, iteration, "refine", run.base, prompts, 1)


def test_the_shape_of_the_iteration_before_is_taken_where_it_serves(run: Run) -> None:
    first = settle(run, 1, "a" * 60, "b" * 30)
    assert settle(run, 2, "c" * 40, "d" * 30) == first
    longer = settle(run, 3, "e" * 150, "f" * 30)
    assert longer.rest_length > first.rest_length
    assert settle(run, 4, "g" * 140, "h" * 30) == longer


@pytest.mark.parametrize("other", [7, "text", [1, 2], {"root_length": 64}, {"prefix": [1], "rows": 3}])
def test_what_is_no_shape_of_this_version_counts_for_nothing(run: Run, other: object) -> None:
    planned = settle(run, 1, "a" * 60, "b" * 30)
    run.store.settle("refine, 0 shots", other)
    assert settle(run, 2, "a" * 60, "b" * 30) == planned
    assert StageShape((), **run.store.settled("refine, 0 shots")) == dataclasses.replace(planned, prefix=())


def test_an_attempt_counts_with_no_more_tokens_than_a_candidate_has(run: Run) -> None:
    """Read again, each byte that is no text is three: here more than the context has room for."""
    prompt = "x" * (run.base.config.max_position_embeddings - NEW - 2)
    length = settle_score_rows(run, run.base, [(prompt, "\ufffd" * NEW), ("y", "z")])
    assert len(run.tokenizer.encode(prompt)) + NEW <= length


@pytest.mark.parametrize("other", [None, 7, "text", [448]])
def test_a_training_has_the_rows_of_the_one_before_where_they_serve(
    run: Run, tiny_policy: Policy, other: object
) -> None:
    if other is not None:  # what another version left behind
        run.store.settle("train rows", other)
    trainer = Trainer(tiny_policy, TrainConfig(rows=1, batch_size=14, max_length=512))

    def settle_rows(count: int, length: int) -> int:
        examples = [Example([n + 3] * (length - 2), [7, 8, 2]) for n in range(count)]
        return settle_train_rows(run, trainer, 0, examples)

    assert settle_rows(14, 60) == 448
    assert settle_rows(13, 59) == 448  # alone they would be in rows of 416
    assert settle_rows(12, 60) == run.store.settled("train rows") == 384  # 574 of 638


def test_a_training_that_has_begun_keeps_its_rows_wherever_it_goes_on(run: Run, tiny_policy: Policy) -> None:
    run.store.settle("train rows", 512)  # by an accelerator, say
    trainer = Trainer(tiny_policy, TrainConfig(rows=1, batch_size=14, max_length=512))
    examples = [Example([n + 3] * 58, [7, 8, 2]) for n in range(14)]
    run.workdir.training(1).mkdir(parents=True)
    assert settle_train_rows(run, trainer, 1, examples) == 512
    assert settle_train_rows(run, trainer, 2, examples) == 448
