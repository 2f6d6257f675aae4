"""A whole experiment that takes seconds: a tiny LLaMA that writes small sums, and problems they may answer.

The model is random, then taught for a moment to answer any prompt with "digit + digit"; the problems ask for
sums. So a few candidates of each iteration are right, most are wrong, and every stage has something to do.
"""

import itertools
import json
import random
from pathlib import Path

from envisions_jax.config import Config, from_config_dict
from envisions_jax.prompts import Prompts
from envisions_jax.testing import tiny_policy
from envisions_jax.training import Example, TrainConfig, Trainer
from envs import Task

TRAIN_TASKS = 8
TEST_TASKS = 5


def make_experiment(folder: Path) -> list[str]:
    """Model and problems below `folder`; the overrides of `configs/quickstart.py:tiny` that use them."""
    model, data = folder / "model", folder / "data"
    data.mkdir(parents=True)
    tasks = _write_problems(data)
    _teach_sums(tasks).save_pretrained(model)
    return [f"--config.{key}={value}" for key, value in _settings(model, data).items()]


def make_config(folder: Path, **changes: object) -> Config:
    """The same as a `Config`, for use in this process; `changes` name dotted keys with __ for the dot."""
    settings = _settings(folder / "model", folder / "data")
    settings |= {key.replace("__", "."): value for key, value in changes.items()}
    nested: dict[str, dict[str, object]] = {}
    for key, value in settings.items():
        section, _, name = key.partition(".")
        nested.setdefault(section, {})[name] = value
    plain: dict[str, object] = {k: v.pop("") if "" in v else v for k, v in nested.items()}
    return from_config_dict({**plain, "name": "tiny", "progress": False, "tensorboard": False})


def _settings(model: Path, data: Path) -> dict[str, object]:
    return {
        "model.path": str(model),
        "model.context": 512,
        "tasks.train": (f"svamp:all[:{TRAIN_TASKS}]",),
        "tasks.test": (f"svamp:all[{TRAIN_TASKS}:]",),
        "tasks.path": str(data / "sums.jsonl"),
        "tasks.train_size": 0,
        "tasks.test_size": 0,
        "prompt.shots": 1,
        "env.workers": 1,
        "sampler.k": 3,
        "sampler.temperature": 1.0,
        "sampler.max_new_tokens": 12,
        "sampler.shard_tasks": 3,
        "eval.max_new_tokens": 12,
        "eval.shard_tasks": 3,
        "train.learning_rate": 1e-3,
        "train.batch_size": 2,
        "train.epochs": 2,
        "train.max_length": 512,
        "train.rows": 1,
        "loop.iterations": 3,
        "checkpoint.every_steps": 1,
    }


def _write_problems(data: Path) -> list[Task]:
    """Files of sums; those to train on as tasks."""
    pairs = list(itertools.product(range(3, 7), repeat=2))
    rows = [
        {"id": f"sum-{number:02d}", "question": f"{a} and {b}?", "answer": a + b}
        for number, (a, b) in enumerate(random.Random(0).sample(pairs, TRAIN_TASKS + TEST_TASKS))
    ]
    (data / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [Task(str(row["id"]), str(row["question"]), int(str(row["answer"]))) for row in rows[:TRAIN_TASKS]]


def _teach_sums(tasks: list[Task]):  # type: ignore[no-untyped-def]
    """A tiny policy that answers the prompts of `tasks` with sums of two digits."""
    policy, prompts, rng = tiny_policy(max_position_embeddings=768), Prompts("expression"), random.Random(1)
    assert policy.tokenizer is not None
    examples = []
    for number in range(64):
        text = prompts.explore(tasks[number % len(tasks)], shots=number % 2)
        completion = policy.tokenizer.encode_completion(f" {rng.randint(2, 7)} + {rng.randint(2, 7)}")
        examples.append(
            Example(tuple(policy.tokenizer.encode(text)), (*completion, policy.eos_ids[0]), "L1", str(number))
        )
    config = TrainConfig(
        learning_rate=1e-2, batch_size=8, epochs=12, row_length=768, rows=4, max_length=768, warmup_ratio=0.1
    )
    params, _ = Trainer(policy, config).train(policy.params, examples)
    return policy.with_params(params)
