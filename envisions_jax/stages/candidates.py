"""Steps 1 to 4: sample candidates, execute them and give each its self-reward, shard by shard.

A shard is sampled, scored, executed and committed as a whole; its composition depends on the config alone. So
a run that was killed skips finished shards, repeats the unfinished one with the same companions, and finds
the same candidates with the same log-probs. The environment works on one shard while the next is being
sampled.
"""

import math
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from envisions_jax.policy import Policy
from envisions_jax.progress import Advance
from envisions_jax.sampling.results import Generation
from envisions_jax.sampling.shapes import StageShape
from envisions_jax.stages.run import Run, slots_for
from envisions_jax.store import Shard, Trajectory
from envisions_jax.store.records import Stage
from envs import Outcome, Task


@dataclass(frozen=True)
class Request:
    """One prompt to sample from: `count` candidates, numbered from `first_k`."""

    task: Task
    prompt: str
    name: str  # of its random stream
    count: int
    first_k: int = 0
    parent: str | None = None  # the exploration that is refined


@dataclass(frozen=True, eq=False)
class Candidate:
    """One sampled candidate, before it is executed."""

    request: Request
    k: int
    generation: Generation
    program: str
    self_reward: float


@dataclass(frozen=True, eq=False)
class Sampling:
    """What all shards of one stage have in common."""

    run: Run
    iteration: int
    stage: Stage
    policy: Policy
    shape: StageShape
    slots: int
    advance: Advance


def explore(run: Run, iteration: int, policy: Policy) -> None:
    """Step 1: K candidates a_k ~ pi(. | x) for each task, few-shot in iteration 0 only; executed (step 2)."""
    k = run.config.sampler.k
    requests = [
        Request(task, task_prompt(run, iteration, task), f"{iteration}/explore/{task.id}", k)
        for task in run.train_tasks.explored(iteration)
    ]
    _sample_stage(run, iteration, policy, "explore", requests, run.config.sampler.shard_tasks)


def refine(run: Run, iteration: int, policy: Policy) -> None:
    """Step 3: a'_k ~ pi(. | x, a_k) for each exploration, right or wrong; executed."""
    tasks = {task.id: task for task in run.train_tasks.explored(iteration)}
    requests = [
        Request(
            task=tasks[exploration.task_id],
            prompt=run.refinement_prompt(tasks[exploration.task_id], exploration),
            name=f"{iteration}/refine/{exploration.task_id}/{exploration.k}",
            count=1,
            first_k=exploration.k,
            parent=exploration.id,
        )
        for exploration in run.store.trajectories(iteration, "explore", tokens=False)
    ]
    shard_size = run.config.sampler.shard_tasks * run.config.sampler.k
    _sample_stage(run, iteration, policy, "refine", requests, shard_size)


def task_prompt(run: Run, iteration: int, task: Task) -> str:
    """The prompt x of a task, as the policy of `iteration` sees it."""
    return run.prompts.explore(task, shots=run.shots(iteration))


def self_reward(log_probs: np.ndarray, text: str) -> float:
    """Step 4, equation 1: the mean log-prob of a candidate's tokens; -inf if it says nothing.

    A candidate without text would else be ranked by the probability of its terminator alone, the best there
    is.
    """
    return math.fsum(log_probs.tolist()) / len(log_probs) if text.strip() and len(log_probs) else -math.inf


def _sample_stage(
    run: Run, iteration: int, policy: Policy, stage: Stage, requests: Sequence[Request], shard_size: int
) -> None:
    """All shards of a stage that are not in the store yet."""
    if run.store.is_done(iteration, stage):
        return
    shards = [requests[start : start + shard_size] for start in range(0, len(requests), shard_size)]
    finished = run.store.done_shards(iteration, stage)
    total = sum(request.count for request in requests)
    done = sum(request.count for number in finished for request in shards[number])
    # One shape and one number of slots for all shards, the last and shorter one too: nothing compiles twice.
    shape = policy.plan_stage([request.prompt for request in requests], run.config.sampler.max_new_tokens)
    slots = slots_for(run.config, sum(request.count for request in shards[0]))
    name = f"{stage} {iteration}"
    with run.reporter.stage(name, total, done) as advance, ThreadPoolExecutor(1) as executor:
        sampling = Sampling(run, iteration, stage, policy, shape, slots, advance)
        executing: Future[None] | None = None
        for number, shard in enumerate(shards):
            if number in finished:
                continue
            candidates = _candidates(sampling, shard)
            if executing is not None:
                executing.result()
            executing = executor.submit(_execute, run, Shard(iteration, stage, number), candidates)
        if executing is not None:
            executing.result()
    run.store.mark_done(iteration, stage)


def _candidates(sampling: Sampling, shard: Sequence[Request]) -> list[Candidate]:
    """Sample a shard, and reward what was sampled."""
    run, settings = sampling.run, sampling.run.config.sampler
    with run.clock.measure(sampling.iteration, "generate"):
        generations = sampling.policy.generate(
            [request.prompt for request in shard],
            k=shard[0].count,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_new_tokens=settings.max_new_tokens,
            stop=run.prompts.stop,
            seed=run.config.seed,
            ids=[request.name for request in shard],
            slots=sampling.slots,
            shape=sampling.shape,
            progress=sampling.advance,
        )
    requests = [request for request in shard for _ in range(request.count)]
    flat = [generation for group in generations for generation in group]
    numbers = [request.first_k + k for request in shard for k in range(request.count)]
    programs = [run.prompts.canonical(run.prompts.program(generation.text)) for generation in flat]
    rewards = _self_rewards(sampling, requests, flat)
    return [Candidate(*fields) for fields in zip(requests, numbers, flat, programs, rewards, strict=True)]


def _self_rewards(
    sampling: Sampling, requests: Sequence[Request], generations: Sequence[Generation]
) -> list[float]:
    """r(a) of each candidate under its task's prompt.

    For explorations the sampler's own log-probs are just that. Refinements were sampled under another prompt
    and are scored anew, each task's prompt computed once for all of its candidates.
    """
    log_probs = [generation.log_probs for generation in generations]
    if sampling.stage == "refine" and sampling.run.config.loop.self_reward == "task_prompt":
        members: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            members.setdefault(request.task.id, []).append(index)
        tasks = [requests[group[0]].task for group in members.values()]
        with sampling.run.clock.measure(sampling.iteration, "score"):
            scores = sampling.policy.score(
                [task_prompt(sampling.run, sampling.iteration, task) for task in tasks],
                [[generations[index].tokens for index in group] for group in members.values()],
            )
        for group, scored in zip(members.values(), scores, strict=True):
            for index, candidate in zip(group, scored, strict=True):
                log_probs[index] = candidate
    return [self_reward(scored, g.text) for scored, g in zip(log_probs, generations, strict=True)]


def _execute(run: Run, shard: Shard, candidates: Sequence[Candidate]) -> None:
    """Step 2: b = 1 if the environment gives y. Commits the shard."""
    begin = time.perf_counter()
    programs = [(candidate.request.task, candidate.program) for candidate in candidates]
    outcomes = list(run.environment.execute(programs))
    run.clock.add(shard.iteration, "execute", time.perf_counter() - begin)
    run.store.add_many(
        [
            _trajectory(run, shard, candidate, outcome)
            for candidate, outcome in zip(candidates, outcomes, strict=True)
        ],
        shard=shard,
    )
    run.clock.save()


def _trajectory(run: Run, shard: Shard, candidate: Candidate, outcome: Outcome) -> Trajectory:
    generation, request = candidate.generation, candidate.request
    return Trajectory(
        iteration=shard.iteration,
        stage=shard.stage,  # type: ignore[arg-type]
        task_id=request.task.id,
        k=candidate.k,
        text=candidate.program,
        completion=generation.text,
        tokens=generation.tokens,
        outcome=outcome.kind,
        value=outcome.value,
        error=outcome.error,
        output=outcome.output,
        self_reward=candidate.self_reward,
        log_prob_sum=math.fsum(generation.log_probs.tolist()),
        finish_reason=generation.finish_reason,
        seed=run.config.seed,
        parent=request.parent,
    )
