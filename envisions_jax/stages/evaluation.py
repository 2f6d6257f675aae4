"""Step 9: one deterministic answer of a policy to each test task."""

from collections.abc import Mapping, Sequence
from typing import Literal

from envisions_jax.config import EvalConfig
from envisions_jax.metrics import accuracy
from envisions_jax.policy import Policy
from envisions_jax.progress import Advance
from envisions_jax.prompts import Prompts
from envisions_jax.sampling.shapes import StageShape
from envisions_jax.stages.run import Run, slots_for
from envisions_jax.store import EvaluationResult, Shard
from envs import Environment, Task

PromptKind = Literal["zero_shot", "few_shot"]
BASE = -1  # the "iteration" of the base model


def evaluate(
    run: Run, iteration: int, policy: Policy, kind: PromptKind = "zero_shot"
) -> Mapping[str, float | None]:
    """Accuracy of the policy trained in `iteration` by test set, answers into the store shard by shard."""
    shots = run.config.prompt.shots if kind == "few_shot" else 0
    return {name: _evaluate_set(run, iteration, policy, kind, shots, name) for name in run.test_sets}


def answers(
    policy: Policy,
    prompts: Prompts,
    texts: Sequence[str],
    config: EvalConfig,
    shape: StageShape,
    slots: int,
    advance: Advance,
) -> list[str]:
    """Completions of prompts by beam search, or greedily with one beam."""
    if config.beams == 1:
        sampled = policy.generate(
            texts,
            temperature=0.0,
            max_new_tokens=config.max_new_tokens,
            stop=prompts.stop,
            slots=slots,
            shape=shape,
            progress=advance,
        )
        return [candidates[0].text for candidates in sampled]
    found = policy.beam_search(
        texts,
        beams=config.beams,
        max_new_tokens=config.max_new_tokens,
        stop=prompts.stop,
        slots=slots,
        shape=shape,
        progress=advance,
    )
    return [candidates[0].text for candidates in found]


def judge(
    environment: Environment,
    prompts: Prompts,
    tasks: Sequence[Task],
    completions: Sequence[str],
    iteration: int,
    test_set: str,
    kind: PromptKind,
) -> list[EvaluationResult]:
    """Execute completions and file what came out of them."""
    programs = [prompts.canonical(prompts.program(completion)) for completion in completions]
    outcomes = environment.execute(list(zip(tasks, programs, strict=True)))
    return [
        EvaluationResult(
            iteration=iteration,
            test_set=test_set,
            task_id=task.id,
            program=program,
            outcome=outcome.kind,
            prompt=kind,
            completion=completion,
            value=outcome.value,
            error=outcome.error,
        )
        for task, program, completion, outcome in zip(tasks, programs, completions, outcomes, strict=True)
    ]


def _evaluate_set(
    run: Run, iteration: int, policy: Policy, kind: PromptKind, shots: int, name: str
) -> float | None:
    tasks, config = run.test_sets[name], run.config.eval
    stage = f"evaluate/{name}/{kind}"
    finished = run.store.done_shards(iteration, stage)
    shards = [tasks[start : start + config.shard_tasks] for start in range(0, len(tasks), config.shard_tasks)]
    done = sum(len(shards[number]) for number in finished)
    texts = {task.id: run.prompts.explore(task, shots=shots) for task in tasks}
    shape = policy.plan_stage(list(texts.values()), config.max_new_tokens)
    slots = slots_for(run.config, len(shards[0]) * config.beams)
    who = "base" if iteration == BASE else str(iteration)
    with run.reporter.stage(f"evaluate {who} {name} {kind.replace('_', '-')}", len(tasks), done) as advance:
        for number, shard in enumerate(shards):
            if number in finished:
                continue
            with run.clock.measure(iteration, "evaluate"):
                prompts = [texts[task.id] for task in shard]
                completions = answers(policy, run.prompts, prompts, config, shape, slots, advance)
                results = judge(run.environment, run.prompts, shard, completions, iteration, name, kind)
            run.store.add_evaluations(results, shard=Shard(iteration, stage, number))
            run.clock.save()
    stored = run.store.evaluations(iteration, name, kind)
    return accuracy(result.outcome for result in stored)
