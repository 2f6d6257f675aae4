"""Steps 5 to 8: filter, pool, select, and train from theta_0."""

import shutil
from collections.abc import Sequence
from typing import Any

from envisions_jax import hosts
from envisions_jax.command_line import RunError
from envisions_jax.config import Config
from envisions_jax.memory import return_free_memory
from envisions_jax.models.weights import named_arrays
from envisions_jax.parallel import Layout
from envisions_jax.policy import Policy
from envisions_jax.selection import L1Example, L2Example, Selection, keep, select, verdict_budget
from envisions_jax.stages.run import Run, fold
from envisions_jax.stages.shapes import settle_train_rows
from envisions_jax.stages.turns import parted
from envisions_jax.store.records import BASE, COLD_START
from envisions_jax.training import (
    Example,
    StepStats,
    TrainConfig,
    Trainer,
    Truncated,
    has_params,
    restore_params,
    save_params,
    truncate,
)
from envs import Task


def select_examples(run: Run, iteration: int) -> Selection:
    """Steps 5 to 7: filter each slot, add what is kept to the pool, rank and pair (equations 2, 3 and 5)."""
    config, seed = run.config.selection, run.config.seed
    questions = {task.id: task.question for task in run.train_tasks.known(iteration)}
    kept = keep(run.store.trajectories(iteration, tokens=False), config, seed=seed)
    run.store.record_kept(iteration, kept)
    budget = None
    if config.filter == "none":
        everything = run.store.trajectories(up_to=iteration, tokens=False)
        budget = verdict_budget(everything, config, iteration=iteration, questions=questions)
    pool = run.store.pool(iteration)
    chosen = select(pool, config, iteration=iteration, seed=seed, questions=questions, budget=budget)
    run.store.record_selected(chosen.records())
    return chosen


def training_examples(run: Run, iteration: int, chosen: Selection) -> Truncated:
    """Tokens of L1, (x, a+), and of L2, (x with a-, a+): equations 4 and 6. Prompts are zero-shot.

    In a closed loop every turn of a+ is an example, under what was seen at it. Demonstrations of a cold start
    come first (`stages.cold_start`). What is longer than `train.max_length` is cut or dropped, and counted.
    """
    given = _demonstrations(run) if run.config.loop.cold_start_keep else []
    if given and not chosen.l1:
        run.reporter.line(
            f"train {iteration + 1}: no candidate solved a task: only the demonstrations are left"
        )
    tasks = {task.id: task for task in run.train_tasks.known(iteration)}
    pairs: list[L1Example | L2Example] = [*chosen.l1, *chosen.l2]

    def in_turns() -> list[list[tuple[Task, str]]]:
        return parted(run.interaction, [(tasks[pair.task_id], pair.positive.text) for pair in pairs])

    # Pages are looked at again, which may fail: all processes have to train on the same.
    turns = in_turns() if run.interaction.turns == 1 else hosts.on_first(in_turns)
    of_l1, of_l2 = turns[: len(chosen.l1)], turns[len(chosen.l1) :]
    first = [
        _example(run, task, run.prompts.explore(task, shots=0), program, "L1")
        for own in of_l1
        for task, program in own
    ]
    second = [
        _example(run, task, run.refinement_prompt(task, pair.negative), program, "L2")
        for pair, own in zip(chosen.l2, of_l2, strict=True)
        for task, program in own
    ]
    return truncate(given + first + second, run.config.train.max_length)


def demonstration_examples(run: Run) -> Truncated:
    """The gold programs of a cold start under their task prompts, zero-shot."""
    return truncate(_demonstrations(run), run.config.train.max_length)


def kept_demonstrations(run: Run) -> int:
    """How many demonstrations are in the training set of every iteration."""
    return len(run.demonstrations) if run.config.loop.cold_start_keep else 0


def train(
    run: Run,
    trainer: Trainer,
    iteration: int,
    start: Policy,
    examples: Truncated,
    *,
    epochs: int | None = None,
) -> Policy:
    """Step 8: theta_(i+1) from `start`, which is theta_0 unless the run is continual.

    epochs: other than `train.epochs`.

    Raises RunError if there is nothing to learn from.
    """
    epochs = epochs or run.config.train.epochs
    directory = run.workdir.policy(iteration)
    if has_params(directory):
        _forget_training(run, iteration)
        return policy_of(run, iteration)
    if examples.shortened or examples.dropped:
        run.reporter.line(
            f"{_stage_name(iteration)}: longer than train.max_length={run.config.train.max_length}: "
            f"{examples.shortened} examples are cut, {examples.dropped} left out, "
            f"of {len(examples.examples) + examples.dropped}"
        )
    if examples.dropped and not examples.examples:
        raise RunError(
            f"{_stage_name(iteration)}: the prompts of all {examples.dropped} examples fill "
            f"train.max_length={run.config.train.max_length}; give more"
        )
    if not examples.examples:
        raise RunError(
            f"iteration {iteration + 1}: no candidate solved a task: there is nothing to learn from; "
            "try more candidates (sampler.k), a lower sampler.temperature, demonstrations or easier tasks"
        )
    seed = fold(run.config.seed, "train", iteration)
    for policy in (run.base, start):
        policy.forget()
    return_free_memory()  # of sampling: training needs the most
    with run.clock.measure(iteration, "train"):
        params = _train(run, trainer, iteration, start.params, examples.examples, seed, epochs)
    return_free_memory()
    # 1. the weights are whole on disk, 2. what they were made from may go.
    save_params(directory, params, {"iteration": iteration})
    _forget_training(run, iteration)
    run.clock.save()
    return run.base.with_params(params)


def policy_of(run: Run, iteration: int) -> Policy:
    """The policy trained in `iteration`; `BASE` is the first one, theta_0 or that of a cold start."""
    if iteration == BASE and run.config.loop.cold_start == "demonstrations":
        iteration = COLD_START
    if iteration == BASE:
        return run.base
    params, _ = restore_params(run.workdir.policy(iteration), run.base.params)
    return run.base.with_params(params)


def forget_old_policies(run: Run, iteration: int) -> None:
    """Keep the newest `checkpoint.keep` policies up to `iteration`; that of a cold start is the oldest."""
    for old in range(BASE, iteration - run.config.checkpoint.keep + 1) if hosts.is_first() else ():
        shutil.rmtree(run.workdir.policy(COLD_START if old == BASE else old), ignore_errors=True)


def export_final(run: Run) -> None:
    """The last policy as a folder that other programs load, written once."""
    final = run.workdir.final

    def is_missing() -> bool:
        for scratch in final.parent.glob(f".{final.name}-*"):  # of an export that was killed
            shutil.rmtree(scratch, ignore_errors=True)
        return not final.exists()

    if not (run.config.checkpoint.export and hosts.on_first(is_missing)):
        return
    policy = policy_of(run, run.config.loop.iterations - 1)
    if hosts.is_first():
        policy.save_pretrained(final)
    else:  # whose parts of the weights it needs
        for _ in named_arrays(policy.params):
            pass
    hosts.gather("exported")


def make_trainer(run: Run) -> Trainer:
    """One trainer for all iterations, so that nothing is compiled twice."""
    mesh = run.base.mesh
    layout = None if mesh is None else Layout(run.base.config, mesh)
    return Trainer(run.base, train_config(run.config), layout)


def train_config(config: Config) -> TrainConfig:
    """The trainer's settings, which are those of a run."""
    train, checkpoint = config.train, config.checkpoint
    return TrainConfig(
        learning_rate=train.learning_rate,
        batch_size=train.batch_size,
        epochs=train.epochs,
        warmup_ratio=train.warmup_ratio,
        clip_norm=train.clip_norm,
        weight_decay=train.weight_decay,
        row_length=train.row_length,
        rows=train.rows,
        max_length=train.max_length,
        remat=train.remat,
        lora_rank=train.lora_rank,
        lora_alpha=train.lora_alpha,
        checkpoint_every_steps=checkpoint.every_steps,
        keep=checkpoint.keep,
    )


def _forget_training(run: Run, iteration: int) -> None:
    """Remove the checkpoints inside a training that is done."""
    if hosts.is_first():
        shutil.rmtree(run.workdir.training(iteration), ignore_errors=True)


def _example(run: Run, task: Task, prompt: str, program: str, kind: Any) -> Example:
    completion = run.tokenizer.encode_completion(run.prompts.completion(program))
    prompt_tokens = tuple(run.tokenizer.encode(prompt))
    return Example(prompt_tokens, (*completion, run.base.eos_ids[0]), kind, task.id)


def _demonstrations(run: Run) -> list[Example]:
    return [
        _example(run, task, run.prompts.explore(task, shots=0), program, "L1")
        for task, program in run.demonstrations
    ]


def _stage_name(iteration: int) -> str:
    return "cold start" if iteration == COLD_START else f"train {iteration + 1}"


def _train(
    run: Run,
    trainer: Trainer,
    iteration: int,
    params0: Any,
    examples: Sequence[Example],
    seed: int,
    epochs: int,
) -> Any:
    """The trained weights; every step goes into metrics.jsonl."""
    steps = -(-len(examples) // run.config.train.batch_size) * epochs
    done = 0

    with run.reporter.stage(_stage_name(iteration), steps) as advance:

        def on_step(stats: StepStats) -> None:
            nonlocal done
            values = {
                "loss": stats.loss,
                "l1": stats.l1,
                "l2": stats.l2,
                "gradient_norm": stats.gradient_norm,
            }
            values |= {"learning_rate": stats.learning_rate, "examples": stats.examples}
            run.metrics.write("train", values, iteration=iteration, step=stats.step)
            advance(stats.step - done)  # the first one comes after those of an earlier start
            done = stats.step

        params, _ = trainer.train(
            params0,
            examples,
            seed,
            epochs=epochs,
            row_length=settle_train_rows(run, trainer, iteration, examples),
            checkpoint_dir=run.workdir.training(iteration),
            on_step=on_step,
        )
    return params
