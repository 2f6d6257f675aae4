"""A run that starts from demonstrations: what is trained on them, and that it resumes and compares as any."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from envisions_jax.config import Config
from envisions_jax.demonstrations import gold_program
from envisions_jax.main import execute
from envisions_jax.metrics import MetricsWriter, read_metrics, without_time
from envisions_jax.policy import Policy
from envisions_jax.progress import Reporter
from envisions_jax.prompts import Prompts
from envisions_jax.stages.run import fold, slots_for
from envisions_jax.store import TrajectoryStore
from envisions_jax.store.records import BASE, COLD_START
from envisions_jax.summary import demonstrations, policies
from envisions_jax.task_sets import given_tasks
from envisions_jax.training import Example, TrainConfig, Trainer, restore_params
from envisions_jax.workdir import WorkDir, check_workdir
from tests.tiny_experiment import TEST_TASKS, TRAIN_TASKS, make_config, make_experiment

PROMPTS = Prompts("expression")
COUNT, EPOCHS, K = 6, 3, 3
COLD: dict[str, Any] = {
    "loop__cold_start": "demonstrations",
    "loop__cold_start_examples": COUNT,
    "loop__cold_start_epochs": EPOCHS,
    "loop__iterations": 2,
    "checkpoint__keep": 3,
    "tasks__steps": (1.0,),
}


def run(config: Config, folder: Path) -> WorkDir:
    """Start or go on with a run in this process."""
    workdir = check_workdir(folder, config)
    execute(config, workdir, given_tasks(config), Reporter(bars=False))
    return workdir


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    make_experiment(folder)
    return folder


@pytest.fixture(scope="module")
def config(experiment: Path) -> Config:
    return make_config(experiment, **COLD)


@pytest.fixture(scope="module")
def workdir(config: Config, tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    return run(config, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def store(workdir: WorkDir) -> Iterator[TrajectoryStore]:
    with TrajectoryStore(workdir.store, read_only=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def base(config: Config) -> Policy:
    return Policy.from_pretrained(config.model.path)


def example(base: Policy, prompt: str, program: str, kind: Any, task_id: str) -> Example:
    assert base.tokenizer is not None
    completion = base.tokenizer.encode_completion(PROMPTS.completion(program))
    return Example(tuple(base.tokenizer.encode(prompt)), (*completion, base.eos_ids[0]), kind, task_id)


def shown(base: Policy, config: Config) -> list[Example]:
    """The demonstrations as examples."""
    return [
        example(base, PROMPTS.explore(task, shots=0), gold_program(task, "expression"), "L1", task.id)
        for task in given_tasks(config).gold
    ]


def trained(
    base: Policy, config: Config, examples: list[Example], seed: int, epochs: int, row_length: int = 0
) -> Any:
    """The base weights trained anew, in the rows that were settled, if any."""
    train = config.train
    settings = TrainConfig(
        learning_rate=train.learning_rate,
        batch_size=train.batch_size,
        epochs=epochs,
        row_length=row_length,
        rows=train.rows,
        max_length=train.max_length,
    )
    return Trainer(base, settings).train(base.params, examples, seed)[0]


def assert_equal(first: object, second: object) -> None:
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def stored(workdir: WorkDir, base: Policy, iteration: int) -> Any:
    return restore_params(workdir.policy(iteration), base.params)[0]


def test_the_base_weights_learn_the_demonstrations(workdir: WorkDir, base: Policy, config: Config) -> None:
    anew = trained(base, config, shown(base, config), fold(config.seed, "train", COLD_START), EPOCHS)
    assert_equal(anew, stored(workdir, base, COLD_START))
    assert workdir.policy(COLD_START).name == "policy-cold-start"


def test_that_policy_explores_iteration_0_zero_shot(
    store: TrajectoryStore, workdir: WorkDir, base: Policy, config: Config
) -> None:
    policy, tasks = base.with_params(stored(workdir, base, COLD_START)), given_tasks(config).train.explored(0)
    task, prompts = tasks[2], [PROMPTS.explore(task, shots=0) for task in tasks]
    shape = policy.plan_stage(prompts, 12, K)  # as the stage has it: nothing is compiled anew
    [group] = policy.generate(
        prompts[2:3],
        k=K,
        shape=shape,
        slots=slots_for(config, policy, shape, config.sampler.shard_tasks * K),
        max_new_tokens=12,
        stop=PROMPTS.stop,
        seed=config.seed,
        ids=[f"0/explore/{task.id}"],
    )
    found = [t.completion for t in store.trajectories(0, "explore") if t.task_id == task.id]
    assert found == [generation.text for generation in group]


def test_every_iteration_trains_from_the_base_weights_on_the_demonstrations_too(
    store: TrajectoryStore, workdir: WorkDir, base: Policy, config: Config
) -> None:
    tasks = {task.id: task for task in given_tasks(config).train.explored(0)}
    everything = {t.id: t for t in store.trajectories()}
    examples = shown(base, config)
    for one in store.selected(1):
        task, program = tasks[one.task_id], everything[one.positive].text
        prompt = PROMPTS.explore(task, shots=0)
        if one.negative is not None:
            prompt = PROMPTS.refine(task, everything[one.negative].text)
        examples.append(example(base, prompt, program, one.kind, one.task_id))
    seed, rows = fold(config.seed, "train", 1), store.settled("train rows")
    anew = trained(base, config, examples, seed, config.train.epochs, rows)
    assert_equal(anew, stored(workdir, base, 1))


def test_records_and_evaluations_tell_of_it(store: TrajectoryStore, workdir: WorkDir) -> None:
    assert len(store.evaluations(COLD_START, "svamp", "zero_shot")) == TEST_TASKS
    records = read_metrics(workdir.metrics)
    [record] = [record for record in records if record["kind"] == "cold_start"]
    assert (record["demonstrations"], record["iteration"]) == (COUNT, COLD_START)
    answers = store.evaluations(COLD_START, "svamp")
    assert record["accuracy"] == {"svamp": sum(answer.correct for answer in answers) / TEST_TASKS}
    assert [r["demonstrations"] for r in records if r["kind"] == "iteration"] == [COUNT, COUNT]
    steps = [r for r in records if r["kind"] == "train" and r["iteration"] == COLD_START]
    assert len(steps) == COUNT // 2 * EPOCHS
    assert demonstrations(records) == COUNT
    assert list(policies(records)) == [
        *("base, zero-shot", "base, few-shot", "cold start", "iteration 1", "iteration 2")
    ]


def decided(workdir: WorkDir) -> tuple[str, list[dict[str, object]]]:
    with TrajectoryStore(workdir.store, read_only=True) as opened:
        return opened.digest(), [without_time(record) for record in read_metrics(workdir.metrics)]


def test_a_run_interrupted_at_any_record_of_its_start_ends_as_one_never_interrupted(
    config: Config, workdir: WorkDir, base: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside the training of the cold start, before its record is written and after."""
    write = MetricsWriter.write
    for left in (2, 3, 8, 1, 2, 1_000):
        calls = iter(range(left))

        def interrupted(self: MetricsWriter, *values: Any, now: Any = calls, **named: Any) -> bool:
            if next(now, None) is None:
                raise KeyboardInterrupt
            return write(self, *values, **named)

        monkeypatch.setattr(MetricsWriter, "write", interrupted)
        try:
            run(config, tmp_path / "run")
        except KeyboardInterrupt:
            assert left < 1_000
    monkeypatch.undo()
    assert decided(WorkDir(tmp_path / "run")) == decided(workdir)
    for iteration in (COLD_START, 0, 1):
        assert_equal(stored(WorkDir(tmp_path / "run"), base, iteration), stored(workdir, base, iteration))
    assert not list((tmp_path / "run" / "checkpoints").glob("train-*"))


def test_the_control_starts_alike_and_old_policies_go(
    experiment: Path, workdir: WorkDir, base: Policy, tmp_path: Path
) -> None:
    changes = COLD | {"selection__filter": "none", "checkpoint__keep": 1, "eval__base": False}
    changes |= {"loop__iterations": 1}
    control = run(make_config(experiment, **changes), tmp_path / "run")
    assert [path.name for path in (control.root / "checkpoints").iterdir()] == ["policy-0"]
    theirs, ours = (
        [without_time(r) for r in read_metrics(one.metrics) if r["iteration"] == COLD_START]
        for one in (control, workdir)
    )
    assert theirs == ours
    with (
        TrajectoryStore(control.store, read_only=True) as opened,
        TrajectoryStore(workdir.store, read_only=True) as other,
    ):
        assert (
            opened.trajectories(0) == other.trajectories(0) and len(opened.trajectories(0)) == TRAIN_TASKS * K
        )
        assert not opened.evaluations(BASE)


def test_demonstrations_may_be_left_out_of_later_training(experiment: Path, tmp_path: Path) -> None:
    changes = COLD | {"loop__cold_start_keep": False, "loop__iterations": 1, "eval__base": False}
    records = read_metrics(run(make_config(experiment, **changes), tmp_path / "run").metrics)
    [record] = [record for record in records if record["kind"] == "iteration"]
    steps = [r for r in records if r["kind"] == "train" and r["iteration"] == 0]
    assert record["demonstrations"] == 0
    assert sum(step["examples"] for step in steps) == 2 * (record["l1_examples"] + record["l2_examples"])
