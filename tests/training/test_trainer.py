"""The trainer as its callers see it: it learns, repeats, keeps what it was given, compiles once, resumes."""

import dataclasses
import importlib.util
import logging
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest

from envisions_jax import Policy
from envisions_jax.training import (
    CheckpointError,
    Example,
    StepStats,
    TrainConfig,
    Trainer,
    TrainingError,
    TrainStats,
    stored_tree,
)
from envisions_jax.training.config import learning_rate
from envisions_jax.training.step import STACK

SCRIPT = Path(__file__).with_name("interrupted.py")


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("interrupted", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


interrupted = _load()


class Killed(Exception):
    pass


def kill_at(step: int) -> Callable[[StepStats], None]:
    def on_step(stats: StepStats) -> None:
        if stats.step == step:
            raise Killed

    return on_step


def equal_bits(a: Any, b: Any) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


def without_times(stats: TrainStats) -> TrainStats:
    return dataclasses.replace(stats, seconds=0, resumed_from=0, compiled=0)


@pytest.fixture(scope="module")
def uninterrupted(tiny_policy: Policy) -> tuple[Any, TrainStats]:
    return interrupted.train(tiny_policy, None, None)


def test_it_learns_its_examples_and_leaves_the_given_weights_alone(tiny_policy: Policy) -> None:
    before = jax.tree.map(np.array, tiny_policy.params)
    config = dataclasses.replace(interrupted.CONFIG, epochs=12)
    examples = interrupted.examples()
    params, stats = Trainer(tiny_policy, config).train(tiny_policy.params, [*examples, *examples])
    assert stats.steps[-1].loss < 0.3 * stats.steps[0].loss
    assert equal_bits(before, tiny_policy.params)
    tiny_policy.with_params(params)  # refuses other names and shapes
    # Each example is there twice: where both are in one step, they are computed once.
    assert any(step.places < step.tokens for step in stats.steps)
    assert all(0 < step.places <= step.row_places for step in stats.steps) and 0 < stats.fill <= 1


def test_the_same_call_gives_the_same_bits(
    tiny_policy: Policy, uninterrupted: tuple[Any, TrainStats]
) -> None:
    params, stats = interrupted.train(tiny_policy, None, None)
    assert equal_bits(params, uninterrupted[0])
    assert without_times(stats) == without_times(uninterrupted[1])


def test_steps_of_many_microbatches_and_shapes_resume_to_the_same_bits(
    tiny_policy: Policy, tmp_path: Path
) -> None:
    config = dataclasses.replace(interrupted.CONFIG, batch_size=40, checkpoint_every_steps=1)
    examples = [*interrupted.examples(79), Example(range(1, 50), [2])]  # the last fits no row of 32
    trainer = Trainer(tiny_policy, config)
    whole, told = trainer.train(tiny_policy.params, examples)
    assert max(step.row_places for step in told.steps) > 32 * STACK + 64  # several calls a step
    compiled = trainer.compiled
    with pytest.raises(Killed):
        trainer.train(tiny_policy.params, examples, checkpoint_dir=tmp_path, on_step=kill_at(3))
    resumed, stats = trainer.train(tiny_policy.params, examples, checkpoint_dir=tmp_path)
    assert stats.resumed_from in (2, 3) and without_times(stats) == without_times(told)
    assert equal_bits(resumed, whole)
    assert trainer.compiled == compiled == 4  # start, a whole step, and microbatches of both shapes


def test_nothing_is_compiled_twice(tiny_policy: Policy) -> None:
    trainer = Trainer(tiny_policy, dataclasses.replace(interrupted.CONFIG, epochs=1))
    params, _ = trainer.train(tiny_policy.params, interrupted.examples(20))
    assert trainer.compiled == 2
    for count in (1, 7, 33):  # other sizes, weights and numbers of steps
        params, _ = trainer.train(params, interrupted.examples(count), seed=count)
    assert trainer.compiled == 2
    trainer.train(params, [Example(range(1, 50), [2])])  # does not fit a row of 32
    assert trainer.compiled == 3


def test_rows_are_as_long_as_suits_the_examples(tiny_policy: Policy) -> None:
    """14 examples of 60 tokens fill two rows of 448."""
    config = dataclasses.replace(interrupted.CONFIG, row_length=0, batch_size=14, epochs=1, max_length=512)
    trainer = Trainer(tiny_policy, config)
    same = [Example([n + 3] * 58, [7, 8, 2]) for n in range(14)]
    assert trainer.plan_rows(same) == 448
    (step,) = trainer.train(tiny_policy.params, same)[1].steps
    assert (step.row_places, step.places) == (2 * 448, 14 * 60)
    (step,) = trainer.train(tiny_policy.params, same, row_length=480)[1].steps
    assert step.row_places == 2 * 480
    assert trainer.plan_rows(same, kept=480) == 480
    larger = Trainer(tiny_policy, dataclasses.replace(config, batch_size=16))
    more = [Example([n + 3] * 58, [7, 8, 2]) for n in range(25)]  # steps of 13 and 12, which 448 hold in two
    assert larger.plan_rows(more) == 480  # as steps of 16 will need
    fixed = Trainer(tiny_policy, dataclasses.replace(config, row_length=100))
    assert fixed.plan_rows(same, kept=480) == 100


def test_a_training_goes_on_in_the_rows_that_it_chose(tiny_policy: Policy, tmp_path: Path) -> None:
    config = dataclasses.replace(interrupted.CONFIG, row_length=0, batch_size=14, epochs=1, max_length=512)
    trainer, examples = Trainer(tiny_policy, config), [Example([n + 3] * 58, [7, 8, 2]) for n in range(70)]
    whole, stats = trainer.train(tiny_policy.params, examples)
    assert {step.row_places for step in stats.steps} == {2 * 448}
    with pytest.raises(Killed):
        trainer.train(tiny_policy.params, examples, checkpoint_dir=tmp_path, on_step=kill_at(3))
    again, resumed = Trainer(tiny_policy, config).train(tiny_policy.params, examples, checkpoint_dir=tmp_path)
    assert resumed.resumed_from == 2 and equal_bits(whole, again)
    assert without_times(resumed) == without_times(stats)
    with pytest.raises(CheckpointError, match="another training: different settings"):
        trainer.train(tiny_policy.params, examples, checkpoint_dir=tmp_path, row_length=320)


def test_losses_are_reported_by_kind(tiny_policy: Policy) -> None:
    positives = interrupted.examples(4)
    refinements = [dataclasses.replace(example, kind="L2") for example in interrupted.examples(12)[4:]]
    trainer = Trainer(tiny_policy, dataclasses.replace(interrupted.CONFIG, batch_size=12, epochs=1))
    (step,) = trainer.train(tiny_policy.params, positives + refinements)[1].steps
    (l1,) = trainer.train(tiny_policy.params, positives)[1].steps
    (l2,) = trainer.train(tiny_policy.params, refinements)[1].steps
    assert step.l1 == pytest.approx(l1.loss)
    assert step.l2 == pytest.approx(l2.loss)
    assert step.loss == pytest.approx((4 * l1.loss + 8 * l2.loss) / 12)
    assert l1.l2 is None and l2.l1 is None


def test_nothing_to_train_on_is_an_error(tiny_policy: Policy) -> None:
    trainer = Trainer(tiny_policy, interrupted.CONFIG)
    with pytest.raises(TrainingError, match="1 given, 1 of them without a target"):
        trainer.train(tiny_policy.params, [Example([1, 2], [])])


def test_a_gradient_that_is_not_finite_is_an_error(tiny_policy: Policy) -> None:
    broken = jax.tree.map(lambda p: p * np.nan, tiny_policy.params)
    with pytest.raises(TrainingError, match=r"gradient of step 1 .* is nan; lower"):
        Trainer(tiny_policy, interrupted.CONFIG).train(broken, interrupted.examples())


def test_the_rate_rises_then_falls_and_is_never_zero() -> None:
    config = TrainConfig(learning_rate=1.0, warmup_ratio=0.25)
    assert [learning_rate(config, step, 4) for step in range(4)] == pytest.approx([1 / 2, 1, 2 / 3, 1 / 3])
    assert learning_rate(config, 0, 1) > 0
    assert [learning_rate(TrainConfig(warmup_ratio=0), step, 2) for step in range(2)] == [2e-5, 1e-5]


@pytest.mark.parametrize(("name", "value"), [("rows", 0), ("clip_norm", 0.0), ("warmup_ratio", 2.0)])
def test_an_impossible_setting_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"TrainConfig\.{name} must be"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize("step", [1, 2, 5, 10])
def test_resume_after_an_interrupt_is_bit_exact(
    tiny_policy: Policy, uninterrupted: tuple[Any, TrainStats], tmp_path: Path, step: int
) -> None:
    with pytest.raises(Killed):
        interrupted.train(tiny_policy, str(tmp_path), kill_at(step))
    params, stats = interrupted.train(tiny_policy, str(tmp_path), None)
    assert stats.resumed_from == (step - 1) // 2 * 2  # killed before its own checkpoint
    assert equal_bits(params, uninterrupted[0])
    assert without_times(stats) == without_times(uninterrupted[1])


@pytest.mark.slow
def test_resume_after_sigkill_is_bit_exact(
    tiny_policy: Policy, uninterrupted: tuple[Any, TrainStats], tmp_path: Path
) -> None:
    """Killed twice, each right after a step: in the middle of writing, more often than not."""
    for line in ("step 3", "step 7"):
        command = [sys.executable, str(SCRIPT), str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for printed in process.stdout:
                if printed.strip() == line:
                    process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    params, stats = interrupted.train(tiny_policy, str(tmp_path), None)
    assert stats.resumed_from >= 2
    assert equal_bits(params, uninterrupted[0])
    assert without_times(stats) == without_times(uninterrupted[1])


def test_a_damaged_checkpoint_is_passed_over(
    tiny_policy: Policy,
    uninterrupted: tuple[Any, TrainStats],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(Killed):
        interrupted.train(tiny_policy, str(tmp_path), kill_at(7))
    assert {"4", "6"} <= {path.name for path in tmp_path.iterdir()}
    largest = max((tmp_path / "6").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    largest.write_bytes(largest.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        params, stats = interrupted.train(tiny_policy, str(tmp_path), None)
    assert "damaged checkpoint removed" in caplog.text
    assert stats.resumed_from == 4
    assert equal_bits(params, uninterrupted[0])


def test_a_checkpoint_that_the_machine_cannot_read_now_stays(
    tiny_policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Killed):
        interrupted.train(tiny_policy, str(tmp_path), kill_at(7))
    before = sorted(path.name for path in tmp_path.iterdir())

    def out_of_memory(*_: object) -> object:
        raise MemoryError("16 GiB")

    monkeypatch.setattr(stored_tree, "read", out_of_memory)
    with pytest.raises(CheckpointError, match="16 GiB; it is still there"):
        interrupted.train(tiny_policy, str(tmp_path), None)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_checkpoints_of_another_training_are_refused(
    tiny_policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Killed):
        interrupted.train(tiny_policy, str(tmp_path), kill_at(3))
    moved = jax.tree.map(lambda p: p * 1.001, tiny_policy.params)
    faster = dataclasses.replace(interrupted.CONFIG, learning_rate=0.1)
    others: list[tuple[str, TrainConfig, Any, list[Example], int]] = [
        ("examples", interrupted.CONFIG, tiny_policy.params, interrupted.examples(21), interrupted.SEED),
        ("seed", interrupted.CONFIG, tiny_policy.params, interrupted.examples(), 6),
        ("settings", faster, tiny_policy.params, interrupted.examples(), interrupted.SEED),
        ("weights", interrupted.CONFIG, moved, interrupted.examples(), interrupted.SEED),
    ]
    for name, config, params, examples, seed in others:
        with pytest.raises(CheckpointError, match=f"another training: different {name}"):
            Trainer(tiny_policy, config).train(params, examples, seed, checkpoint_dir=tmp_path)
    monkeypatch.setattr("envisions_jax.training.identity.PACKING", "one after the other")
    with pytest.raises(CheckpointError, match="another training: different version of packing"):
        interrupted.train(tiny_policy, str(tmp_path), None)
