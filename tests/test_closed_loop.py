"""The loop with a closed loop, in a real Chromium: a tiny policy clicks two buttons with a look between.

The page ("Click button ONE, then click button TWO.") counts two clicks. The policy is taught to click one of
the two, whichever, and nothing more; so what solves the page has two turns, and a quarter does.
"""

import itertools
import random
from collections.abc import Iterator

import numpy as np
import pytest

from envisions_jax.config import Config, from_config_dict
from envisions_jax.domain import open_domain
from envisions_jax.main import execute
from envisions_jax.metrics import read_metrics
from envisions_jax.policy import Policy
from envisions_jax.progress import Reporter
from envisions_jax.prompts import Prompts
from envisions_jax.stages.candidates import self_reward
from envisions_jax.stages.turns import parted
from envisions_jax.store import TrajectoryStore
from envisions_jax.task_sets import given_tasks
from envisions_jax.testing import tiny_policy
from envisions_jax.training import Example, TrainConfig, Trainer, restore_params
from envisions_jax.workdir import WorkDir, check_workdir
from envs import Task
from envs.web.language import join_turns, split_turns

pytestmark = pytest.mark.browser
CLICKS = ("agent.click_xpath('//button[1]')", "agent.click_xpath('//button[2]')")
PAGE, CONTEXT = "click-button-sequence", 1536


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    model = tmp_path_factory.mktemp("closed-loop") / "model"
    config = from_config_dict(
        {
            "name": "closed-loop",
            "progress": False,
            "tensorboard": False,
            "model": {"path": str(model), "context": CONTEXT},
            "tasks": {"train": (PAGE,), "test": (PAGE,), "train_size": 6, "test_size": 3},
            "prompt": {"style": "web", "shots": 0},
            "env": {"name": "web", "workers": 1},
            "web": {"turns": 2, "most_tokens": 600, "screenshots": False},
            "sampler": {"k": 4, "temperature": 0.7, "max_new_tokens": 48, "shard_tasks": 3, "slots": 8},
            "eval": {"max_new_tokens": 48, "shard_tasks": 2, "base": False, "beams": 1},
            "train": {
                **{"learning_rate": 3e-3, "batch_size": 4, "epochs": 1},
                **{"max_length": CONTEXT, "row_length": CONTEXT, "rows": 1},
            },
            "loop": {"iterations": 2},
            "checkpoint": {"keep": 2, "export": False},
        }
    )
    _teach_clicking(config).save_pretrained(model)
    return config


def _teach_clicking(config: Config) -> Policy:
    """A tiny policy that clicks either button, at the first look and at the second."""
    policy, rng = tiny_policy(max_position_embeddings=CONTEXT), random.Random(0)
    tokenizer = policy.tokenizer
    assert tokenizer is not None
    with open_domain(config, given_tasks(config), tokenizer) as domain:
        [task, *_] = domain.train_tasks.explored(0)
        later = domain.interaction.go_on([(task, click) for click in CLICKS])
        prompts = domain.prompts
    seen = [one for one in (task, *later) if one is not None]
    assert len(seen) == 3
    texts = [prompts.explore(one, shots=0) for one in seen]
    attempts = [join_turns(pair) for pair in itertools.product(CLICKS, CLICKS)]
    texts += [prompts.refine(one, attempt) for one in seen for attempt in attempts]
    examples = []
    for number in range(90):
        text, click = texts[number % len(texts)], rng.choice(CLICKS)
        answer = tokenizer.encode_completion(prompts.completion(click))
        examples.append(
            Example(tuple(tokenizer.encode(text)), (*answer, policy.eos_ids[0]), "L1", str(number))
        )
    train = TrainConfig(
        **{"learning_rate": 2e-2, "batch_size": 9, "epochs": 5, "warmup_ratio": 0.1},
        **{"row_length": CONTEXT, "rows": 4, "max_length": CONTEXT},
    )
    params, _ = Trainer(policy, train).train(policy.params, examples)
    return policy.with_params(params)


@pytest.fixture(scope="module")
def workdir(config: Config, tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    workdir = check_workdir(tmp_path_factory.mktemp("run"), config)
    execute(config, workdir, given_tasks(config), Reporter(bars=False))
    return workdir


@pytest.fixture(scope="module")
def store(workdir: WorkDir) -> Iterator[TrajectoryStore]:
    with TrajectoryStore(workdir.store, read_only=True) as opened:
        yield opened


def test_what_solves_the_page_has_a_look_between_its_clicks(store: TrajectoryStore) -> None:
    solved = [one for one in store.trajectories() if one.outcome == "correct"]
    assert {one.stage for one in solved} == {"explore", "refine"}
    for one in solved:
        assert split_turns(one.text) == list(CLICKS)
    lost = [one for one in store.trajectories() if split_turns(one.text) == [CLICKS[1], CLICKS[0]]]
    assert lost and all(one.outcome == "wrong" and one.value == -1 for one in lost)


def test_a_candidates_tokens_are_those_of_its_turns(config: Config, store: TrajectoryStore) -> None:
    tokenizer = Policy.from_pretrained(config.model.path).tokenizer
    assert tokenizer is not None
    prompts = Prompts("web", {})
    whole = [
        (one, split_turns(one.text))
        for one in store.trajectories(0)
        if one.finish_reason == "eos" and set(split_turns(one.text)) <= set(CLICKS)
    ]
    assert any(len(turns) == 2 for _, turns in whole)
    for one, turns in whole:
        own = [tokenizer.encode_completion(prompts.completion(turn)) for turn in turns]
        assert list(one.tokens) == [token for turn in own for token in (*turn, tokenizer.eos_id)]


@pytest.mark.parametrize("stage", ["explore", "refine"])
def test_self_reward_is_the_mean_log_prob_of_all_turns_each_under_its_task_prompt(
    config: Config, workdir: WorkDir, store: TrajectoryStore, stage: str
) -> None:
    base = Policy.from_pretrained(config.model.path)
    policy = base.with_params(restore_params(workdir.policy(0), base.params)[0])
    assert policy.tokenizer is not None
    eos = policy.eos_ids[0]
    with open_domain(config, given_tasks(config), policy.tokenizer) as domain:
        tasks = {task.id: task for task in domain.train_tasks.explored(1)}
        solved = [one for one in store.trajectories(1) if one.outcome == "correct" and one.stage == stage]
        assert solved
        for one in solved[:3]:
            [turns] = parted(domain.interaction, [(tasks[one.task_id], one.text)])
            assert len(turns) == 2
            scores = [_scored(policy, domain.prompts, task, program, eos) for task, program in turns]
            assert one.self_reward == pytest.approx(
                self_reward(np.concatenate(scores), one.completion), abs=1e-4
            )


def _scored(policy: Policy, prompts: Prompts, task: Task, program: str, eos: int) -> np.ndarray:
    assert policy.tokenizer is not None
    tokens = [*policy.tokenizer.encode_completion(prompts.completion(program)), eos]
    [[log_probs]] = policy.score([prompts.explore(task, shots=0)], [[tokens]])
    return log_probs


def test_each_turn_of_what_was_selected_is_an_example(workdir: WorkDir, store: TrajectoryStore) -> None:
    """A step of the training takes `batch_size` examples: there are twice as many as were selected."""
    for iteration in range(2):
        steps = [
            record
            for record in read_metrics(workdir.metrics)
            if record["kind"] == "train" and record["iteration"] == iteration
        ]
        learned = sum(record["examples"] for record in steps)
        assert learned == 2 * len(store.selected(iteration)) > 0


def test_the_policy_learns_to_do_one_thing_after_the_other(store: TrajectoryStore) -> None:
    """It knew both clicks; what was kept has them in this order only."""
    results = store.evaluations(1, PAGE, "zero_shot")
    assert len(results) == 3
    assert [split_turns(result.program) for result in results] == [list(CLICKS)] * 3
    assert all(result.outcome == "correct" for result in results)
