"""The loop on the tiny experiment: each step of the method leaves in the store what the paper says."""

import dataclasses
import json
import math
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envisions_jax.command_line import RunError
from envisions_jax.config import Config
from envisions_jax.config_rules import ConfigError
from envisions_jax.evaluate import open_checkpoint
from envisions_jax.main import execute
from envisions_jax.metrics import read_metrics, without_time
from envisions_jax.models.weights import flat
from envisions_jax.policy import Policy
from envisions_jax.progress import Reporter
from envisions_jax.prompts import Prompts
from envisions_jax.sampling.shapes import StageShape
from envisions_jax.stages.candidates import self_reward
from envisions_jax.stages.run import fold, tokenizer_of
from envisions_jax.store import TrajectoryStore
from envisions_jax.task_sets import given_tasks
from envisions_jax.training import Example, TrainConfig, Trainer, restore_params
from envisions_jax.workdir import WorkDir, check_workdir
from tests.tiny_experiment import TEST_TASKS, TRAIN_TASKS, make_config, make_experiment

PROMPTS = Prompts("expression")
K, ITERATIONS = 3, 3


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    make_experiment(folder)
    return folder


def run(config: Config, folder: Path) -> WorkDir:
    """Start or go on with a run in this process."""
    workdir = check_workdir(folder, config)
    execute(config, workdir, given_tasks(config), Reporter(bars=False))
    return workdir


@pytest.fixture(scope="module")
def config(experiment: Path) -> Config:
    return make_config(experiment, checkpoint__keep=ITERATIONS)


@pytest.fixture(scope="module")
def planned() -> list[tuple[StageShape | None, StageShape]]:
    """Of each stage that the whole run planned, what was kept from an earlier one, and its shape."""
    return []


@pytest.fixture(scope="module")
def score_rows() -> list[int]:
    """The rows that each shard of the whole run was scored in."""
    return []


@pytest.fixture(scope="module")
def workdir(
    config: Config,
    planned: list[tuple[StageShape | None, StageShape]],
    score_rows: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> WorkDir:
    """A whole run."""
    plan_stage, score = Policy.plan_stage, Policy.score

    def score_and_remember(policy: Policy, *arguments: list, row_length: int = 0):
        score_rows.append(row_length)
        return score(policy, *arguments, row_length=row_length)

    def remember(policy: Policy, prompts: list[str], most: int, k: int = 1, kept: StageShape | None = None):
        planned.append((kept, plan_stage(policy, prompts, most, k, kept)))
        return planned[-1][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Policy, "plan_stage", remember)
        patch.setattr(Policy, "score", score_and_remember)
        return run(config, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def store(workdir: WorkDir) -> Iterator[TrajectoryStore]:
    with TrajectoryStore(workdir.store, read_only=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def base(config: Config) -> Policy:
    return Policy.from_pretrained(config.model.path)


def policy_of(base: Policy, workdir: WorkDir, iteration: int) -> Policy:
    """The policy that explores in `iteration`."""
    if iteration == 0:
        return base
    return base.with_params(restore_params(workdir.policy(iteration - 1), base.params)[0])


def test_an_iteration_computes_in_the_shapes_of_the_one_before(
    planned: list[tuple[StageShape | None, StageShape]], workdir: WorkDir, store: TrajectoryStore
) -> None:
    """Explorations of iterations 2 and 3 have the same prompts; their refinements have others, that fit."""
    again = [(kept, shape) for kept, shape in planned if kept is not None]
    assert len(again) == 2
    for kept, shape in again:
        assert dataclasses.replace(kept, prefix=shape.prefix) == shape
        assert any(dataclasses.replace(kept, prefix=before.prefix) == before for _, before in planned)
    assert StageShape((), **store.settled("refine, 0 shots")) == again[-1][0]


def test_all_refinements_are_scored_in_the_rows_that_were_settled(
    score_rows: list[int], workdir: WorkDir, store: TrajectoryStore
) -> None:
    shards = 2 * math.ceil(TRAIN_TASKS / 3)
    assert score_rows == [store.settled("score rows")] * shards


# ---- Steps 1 to 4 ----------------------------------------------------------------------------------


def test_every_iteration_explores_k_times_and_refines_each_from_the_second_on(store: TrajectoryStore) -> None:
    for iteration in range(ITERATIONS):
        explored = store.trajectories(iteration, "explore")
        assert len(explored) == TRAIN_TASKS * K
        refined = store.trajectories(iteration, "refine")
        assert [t.parent for t in refined] == ([t.id for t in explored] if iteration else [])
        assert [(t.task_id, t.k) for t in refined] == (
            [(t.task_id, t.k) for t in explored] if iteration else []
        )


def test_programs_are_judged_by_the_environment(store: TrajectoryStore) -> None:
    answers = {task.id: task.answer for task in store.tasks("train")}
    judged = [t for t in store.trajectories() if t.outcome in ("correct", "wrong")]
    assert {t.outcome for t in judged} == {"correct", "wrong"}
    for trajectory in judged:
        names: dict[str, object] = {}
        exec(trajectory.text, names)
        assert (names["result"] == answers[trajectory.task_id]) == trajectory.correct


def test_candidates_are_those_of_the_public_api_whatever_the_shards(
    store: TrajectoryStore, base: Policy, workdir: WorkDir, config: Config
) -> None:
    for iteration in range(ITERATIONS):
        tasks = given_tasks(config).train.explored(0)[2:4]
        prompts = [PROMPTS.explore(task, shots=1 if iteration == 0 else 0) for task in tasks]
        ids = [f"{iteration}/explore/{task.id}" for task in tasks]
        sampled = policy_of(base, workdir, iteration).generate(
            prompts, k=K, max_new_tokens=12, stop=PROMPTS.stop, seed=config.seed, ids=ids
        )
        for task, group in zip(tasks, sampled, strict=True):
            stored = [t for t in store.trajectories(iteration, "explore") if t.task_id == task.id]
            assert [t.completion for t in stored] == [g.text for g in group]


def test_self_reward_is_the_mean_log_prob_under_the_task_prompt_for_both_stages(
    store: TrajectoryStore, base: Policy, workdir: WorkDir, config: Config
) -> None:
    tasks = {task.id: task for task in given_tasks(config).train.explored(0)}
    for iteration in range(ITERATIONS):
        policy = policy_of(base, workdir, iteration)
        for trajectory in store.trajectories(iteration):
            prompt = PROMPTS.explore(tasks[trajectory.task_id], shots=1 if iteration == 0 else 0)
            [[scored]] = policy.score([prompt], [[trajectory.tokens]])
            expected = scored.mean() if trajectory.completion.strip() else -math.inf
            assert trajectory.self_reward == pytest.approx(expected, abs=1e-3)


def test_an_empty_candidate_has_the_worst_self_reward() -> None:
    assert self_reward(np.array([-0.01], np.float32), " ") == -math.inf
    assert self_reward(np.array([], np.float32), "") == -math.inf
    assert self_reward(np.array([-1.0, -2.0], np.float32), "3") == -1.5


# ---- Steps 5 to 9 ----------------------------------------------------------------------------------


def test_training_starts_from_the_base_weights_with_l1_and_l2(
    store: TrajectoryStore, base: Policy, workdir: WorkDir, config: Config
) -> None:
    """Trained anew from theta_0 on what the store says was selected, the last policy comes out again."""
    tasks = {task.id: task for task in given_tasks(config).train.explored(0)}
    everything = {t.id: t for t in store.trajectories()}
    last = ITERATIONS - 1
    assert {e.kind for e in store.selected(last)} == {"L1", "L2"}
    examples = []
    for selected in store.selected(last):
        assert everything[selected.positive].correct
        if selected.negative is None:
            prompt = PROMPTS.explore(tasks[selected.task_id], shots=0)
        else:
            assert not everything[selected.negative].correct
            prompt = PROMPTS.refine(tasks[selected.task_id], everything[selected.negative].text)
        assert base.tokenizer is not None
        completion = base.tokenizer.encode_completion(PROMPTS.completion(everything[selected.positive].text))
        tokens = (*completion, base.eos_ids[0])
        examples.append(
            Example(tuple(base.tokenizer.encode(prompt)), tokens, selected.kind, selected.task_id)
        )
    train = config.train
    settings = TrainConfig(
        learning_rate=train.learning_rate,
        batch_size=train.batch_size,
        epochs=train.epochs,
        row_length=store.settled("train rows"),  # of the last iteration, which this is
        rows=train.rows,
        max_length=train.max_length,
    )
    params, _ = Trainer(base, settings).train(base.params, examples, fold(config.seed, "train", last))
    stored, _ = restore_params(workdir.policy(last), base.params)
    assert_equal(params, stored)


def assert_equal(first: object, second: object) -> None:
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_every_policy_answers_every_test_task_zero_shot_and_the_base_few_shot_too(
    store: TrajectoryStore,
) -> None:
    for iteration in range(-1, ITERATIONS):
        for kind in ("zero_shot", "few_shot"):
            answers = store.evaluations(iteration, "svamp", kind)
            assert len(answers) == (TEST_TASKS if kind == "zero_shot" or iteration == -1 else 0)


def test_metrics_say_what_the_store_holds(store: TrajectoryStore, workdir: WorkDir) -> None:
    records = read_metrics(workdir.metrics)
    iterations = [record for record in records if record["kind"] == "iteration"]
    assert [record["iteration"] for record in iterations] == list(range(ITERATIONS))
    for record in iterations:
        number = record["iteration"]
        assert record["solved"] == len(store.solved(number))
        assert record["solved_by_exploration"] == len(store.solved(number, after_refinement=False))
        assert record["l1_examples"] + record["l2_examples"] == len(store.selected(number))
        answers = store.evaluations(number, "svamp")
        assert record["accuracy"] == {"svamp": sum(a.correct for a in answers) / TEST_TASKS}
        assert {"generate", "execute", "train", "evaluate"} <= record["time"].keys()
    assert sum(record["kind"] == "base" for record in records) == 1


def test_the_last_policy_is_exported(base: Policy, workdir: WorkDir) -> None:
    exported = Policy.from_pretrained(workdir.final)
    stored, _ = restore_params(workdir.policy(ITERATIONS - 1), base.params)
    assert_equal(exported.params, stored)


# ---- Interruptions ---------------------------------------------------------------------------------


class Interrupting:
    """An environment that is interrupted at its n-th use."""

    def __init__(self, environment: envs.Environment, uses: int) -> None:
        self._environment, self._left = environment, uses

    def execute(self, programs: Iterable[tuple[envs.Task, str]]) -> Iterator[envs.Outcome]:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return self._environment.execute(programs)

    def close(self) -> None:
        self._environment.close()

    def __enter__(self) -> "Interrupting":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def decided(workdir: WorkDir) -> tuple[str, list[dict[str, object]]]:
    with TrajectoryStore(workdir.store, read_only=True) as opened:
        return opened.digest(), [without_time(record) for record in read_metrics(workdir.metrics)]


def test_a_run_interrupted_at_any_use_of_the_environment_ends_as_one_never_interrupted(
    config: Config, workdir: WorkDir, base: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = envs.make
    interruptions = 0
    for uses in (1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1000):
        monkeypatch.setattr(envs, "make", lambda *a, n=uses, **o: Interrupting(whole(*a, **o), n))
        try:
            run(config, tmp_path / "run")
        except KeyboardInterrupt:
            interruptions += 1
    assert interruptions >= 5
    assert decided(WorkDir(tmp_path / "run")) == decided(workdir)
    mine, _ = restore_params(WorkDir(tmp_path / "run").policy(ITERATIONS - 1), base.params)
    theirs, _ = restore_params(workdir.policy(ITERATIONS - 1), base.params)
    assert_equal(mine, theirs)


def test_examples_that_are_too_long_are_counted_and_told(
    experiment: Path, config: Config, base: Policy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = [PROMPTS.explore(task, shots=0) for task in given_tasks(config).train.explored(0)]
    most = max(len(tokenizer_of(base).encode(prompt)) for prompt in prompts) + 1
    short = make_config(experiment, train__max_length=most, train__row_length=most, loop__iterations=1)
    workdir = run(short, tmp_path / "run")
    [record] = [record for record in read_metrics(workdir.metrics) if record["kind"] == "iteration"]
    assert record["shortened"] > 0
    assert f"longer than train.max_length={most}" in capsys.readouterr().out


def test_a_finished_run_is_not_done_again(config: Config, workdir: WorkDir) -> None:
    before = decided(workdir)
    run(config, workdir.root)
    assert decided(workdir) == before


# ---- Settings of the same loop ---------------------------------------------------------------------


def test_the_control_trains_on_candidates_whatever_their_verdict(experiment: Path, tmp_path: Path) -> None:
    control = make_config(experiment, selection__filter="none", loop__iterations=2, eval__base=False)
    workdir = run(control, tmp_path / "run")
    with TrajectoryStore(workdir.store, read_only=True) as opened:
        outcomes = {t.id: t.outcome for t in opened.trajectories()}
        positives = [outcomes[e.positive] for i in range(2) for e in opened.selected(i)]
    assert "wrong" in positives
    assert not any(record["kind"] == "base" for record in read_metrics(workdir.metrics))


def test_without_refinement_there_is_none_and_old_policies_go(experiment: Path, tmp_path: Path) -> None:
    plain = make_config(
        experiment, loop__refine=False, selection__l2=False, eval__base=False, checkpoint__keep=1
    )
    workdir = run(plain, tmp_path / "run")
    with TrajectoryStore(workdir.store, read_only=True) as opened:
        assert not [t for t in opened.trajectories() if t.stage == "refine"]
        assert {e.kind for e in opened.selected(ITERATIONS - 1)} == {"L1"}
    assert [path.name for path in (workdir.root / "checkpoints").iterdir()] == [f"policy-{ITERATIONS - 1}"]


def test_with_lora_and_half_the_memory_for_weights(experiment: Path, base: Policy, tmp_path: Path) -> None:
    settings = {"model__param_dtype": "bfloat16", "train__lora_rank": 4, "train__learning_rate": 1e-2}
    workdir = run(make_config(experiment, loop__iterations=1, eval__base=False, **settings), tmp_path / "run")
    before = dict(flat(base.params))
    for path, variable in flat(Policy.from_pretrained(workdir.final).params):
        rounded = before[path][...].astype(jnp.bfloat16).astype(jnp.float32)
        assert bool(jnp.array_equal(variable[...], rounded)) == (path[-1] != "kernel"), path
    # Evaluated as it is kept, whatever the config says that is given.
    shutil.rmtree(workdir.final)
    trained, told = open_checkpoint(make_config(experiment), str(workdir.root), workdir)
    assert trained.model.head.dtype == jnp.bfloat16 and told.startswith("the policy of iteration 1")


def test_nothing_solved_is_told(experiment: Path, tmp_path: Path) -> None:
    data = tmp_path / "hard.jsonl"
    rows = [{"id": f"hard-{n}", "question": f"{n}?", "answer": 1000} for n in range(TRAIN_TASKS + 1)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    hopeless = make_config(experiment, tasks__path=str(data), eval__base=False)
    with pytest.raises(RunError, match="nothing to learn from"):
        run(hopeless, tmp_path / "run")


def test_prompts_longer_than_the_context_are_refused_before_anything_is_written(
    experiment: Path, tmp_path: Path
) -> None:
    short = {"model__context": 128, "train__max_length": 128}
    with pytest.raises(ConfigError, match=r"sampler.max_new_tokens=12: task .* model.context=128"):
        run(make_config(experiment, **short), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"model.context=4096: the model was made for 768 tokens"):
        run(make_config(experiment, model__context=4096), tmp_path / "run")
    assert not (tmp_path / "run").exists()
