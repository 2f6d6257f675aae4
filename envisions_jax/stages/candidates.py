"""Steps 1 to 4: sample candidates, execute them and give each its self-reward, shard by shard.

A shard is committed as a whole; its composition depends on the config alone. So a run that was killed skips
finished shards, repeats the unfinished one with the same companions, and finds the same candidates with the
same log-probs. The environment works on candidates while others are being sampled.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from envisions_jax import hosts
from envisions_jax.policy import Policy
from envisions_jax.progress import Advance
from envisions_jax.sampling.results import Generation
from envisions_jax.sampling.shapes import StageShape
from envisions_jax.stages.executing import Executing
from envisions_jax.stages.requests import Candidate, Request
from envisions_jax.stages.run import Run, slots_for
from envisions_jax.stages.shapes import settle_score_rows, settle_shape
from envisions_jax.stages.turns import Turn, completion_of, play
from envisions_jax.store import Shard, Trajectory
from envisions_jax.store.records import Stage
from envs import Task


@dataclass(frozen=True, eq=False)
class Sampling:
    """What all shards of one stage have in common."""

    run: Run
    iteration: int
    stage: Stage
    policy: Policy
    prompts: Sequence[str]  # of all shards
    shape: StageShape
    slots: int
    score_rows: int  # how long the rows are that candidates are scored in; 0 where none are
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
            prompt=_prompt(run, iteration, tasks[exploration.task_id], exploration),
            name=f"{iteration}/refine/{exploration.task_id}/{exploration.k}",
            count=1,
            first_k=exploration.k,
            attempt=exploration,
        )
        for exploration in run.store.trajectories(iteration, "explore", tokens=False)
    ]
    shard_size = run.config.sampler.shard_tasks * run.config.sampler.k
    _sample_stage(run, iteration, policy, "refine", requests, shard_size)


def task_prompt(run: Run, iteration: int, task: Task) -> str:
    """The prompt x of a task, as the policy of `iteration` sees it."""
    return run.prompts.explore(task, shots=run.shots(iteration))


def _prompt(run: Run, iteration: int, task: Task, attempt: Trajectory | None) -> str:
    return task_prompt(run, iteration, task) if attempt is None else run.refinement_prompt(task, attempt)


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
    _ = policy.sampled_with  # now, by all processes: of a short shard one may have no part
    shards = [requests[start : start + shard_size] for start in range(0, len(requests), shard_size)]
    finished = run.store.done_shards(iteration, stage)
    turns = run.interaction.turns
    total = turns * sum(request.count for shard in shards for request in hosts.part(shard))
    done = turns * sum(request.count for number in finished for request in hosts.part(shards[number]))
    # One shape and one number of slots for all shards, the last and shorter one too: nothing compiles twice.
    prompts = [request.prompt for request in requests]
    shape = settle_shape(run, iteration, stage, policy, prompts, max(request.count for request in requests))
    own = [hosts.part(shard) for shard in shards]  # of this process
    slots = slots_for(run.config, policy, shape, max(1, sum(request.count for request in own[0])))
    score_rows = 0
    if _is_rescored(run, stage):
        asked = [
            (task_prompt(run, iteration, request.task), request.attempt.completion)
            for request in requests
            if request.attempt is not None
        ]
        score_rows = settle_score_rows(run, policy, asked)
    name = f"{stage} {iteration + 1}"

    def charge(seconds: float) -> None:
        run.clock.add(iteration, "execute", seconds)

    with (
        run.reporter.stage(name, total, done, samples=True) as advance,
        Executing(run.environment, charge) as executing,
    ):
        sampling = Sampling(run, iteration, stage, policy, prompts, shape, slots, score_rows, advance)
        for number, shard in enumerate(own):
            if number not in finished:
                _sample_shard(sampling, Shard(iteration, stage, number), shard, executing)
    run.store.mark_done(iteration, stage)


def _sample_shard(
    sampling: Sampling, shard: Shard, requests: Sequence[Request], executing: Executing
) -> None:
    """Samples, rewards and executes a shard; its last outcomes, and the commit, may come later."""
    run, turns = sampling.run, sampling.run.interaction.turns
    asked = [request for request in requests for _ in range(request.count)]

    def execute(index: int, program: str) -> None:
        executing.add((shard.number, index), asked[index].task, program)

    def finished(prompt: int, k: int, generation: Generation) -> None:
        execute(prompt * requests[0].count + k, run.prompts.program_of(generation.text))

    first: Sequence[Generation] = ()
    if requests:
        first = _generate(sampling, requests, sampling.shape, finished if turns == 1 else None)
    if turns > 1:
        executing.wait()  # further turns are played in the same environment: one thread at a time
    candidates = _candidates(sampling, requests, first)
    if turns > 1:
        for index, candidate in enumerate(candidates):
            execute(index, candidate.program)
    if hosts.count() == 1:
        executing.then(lambda: _commit(run, shard, candidates, executing))
        return
    executing.wait()  # what all processes do together, they do in one order
    _commit(run, shard, candidates, executing)


def _candidates(
    sampling: Sampling, shard: Sequence[Request], generations: Sequence[Generation]
) -> list[Candidate]:
    """The candidates of a shard whose first turns are sampled: play on, and reward what was sampled."""
    run = sampling.run
    requests = [request for request in shard for _ in range(request.count)]
    numbers = [request.first_k + k for request in shard for k in range(request.count)]
    first = [Turn(request.task, said) for request, said in zip(requests, generations, strict=True)]
    played = _play(sampling, requests, numbers, first)
    completions = [completion_of(turns, run.prompts) for turns in played]
    programs = [run.prompts.program_of(completion) for completion in completions]
    rewards = _self_rewards(sampling, played, completions)
    fields = zip(requests, numbers, played, completions, programs, rewards, strict=True)
    return [Candidate(*values) for values in fields]


def _generate(
    sampling: Sampling,
    requests: Sequence[Request],
    shape: StageShape,
    finished: Callable[[int, int, Generation], None] | None = None,
) -> list[Generation]:
    """What is sampled for requests of equal count, one after the other; `finished` is told each at once."""
    run, settings = sampling.run, sampling.run.config.sampler
    with run.clock.measure(sampling.iteration, "generate"):
        generations = sampling.policy.generate(
            [request.prompt for request in requests],
            k=requests[0].count,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_new_tokens=settings.max_new_tokens,
            stop=run.prompts.stop,
            seed=run.config.seed,
            ids=[request.name for request in requests],
            slots=sampling.slots,
            shape=shape,
            progress=sampling.advance,
            finished=finished,
        )
    return [generation for group in generations for generation in group]


def _play(
    sampling: Sampling,
    requests: Sequence[Request],
    numbers: Sequence[int],
    first: Sequence[Turn[Generation]],
) -> list[list[Turn[Generation]]]:
    """The further turns of a shard's candidates, each on its own from its first turn on."""

    def say(number: int, indices: Sequence[int], tasks: Sequence[Task]) -> list[Generation]:
        asked = [
            replace(
                requests[index],
                prompt=_prompt(sampling.run, sampling.iteration, task, requests[index].attempt),
                name=f"{requests[index].name}/{numbers[index]}/turn {number}",
                count=1,
            )
            for index, task in zip(indices, tasks, strict=True)
        ]
        # With all prompts of the stage, and for refinements its shape, so that the shape differs from that,
        # and between shards, only where a longer page makes it. A resumed run has the same.
        everything = [*sampling.prompts, *(request.prompt for request in asked)]
        limit = sampling.run.config.sampler.max_new_tokens
        kept = sampling.shape if sampling.stage == "refine" else None  # also of one candidate each
        return _generate(sampling, asked, sampling.policy.plan_stage(everything, limit, kept=kept))

    interaction = sampling.run.interaction
    played = play(interaction, sampling.run.prompts, first, say)
    sampling.advance(sum(interaction.turns - len(turns) for turns in played))  # what was over earlier
    return played


def _self_rewards(
    sampling: Sampling, played: Sequence[Sequence[Turn[Generation]]], completions: Sequence[str]
) -> list[float]:
    """r(a) of each candidate under the task prompt of each of its turns.

    For explorations the sampler's own log-probs are just that. Refinements were sampled under another prompt
    and are scored anew, each task's prompt computed once for all of its candidates.
    """
    turns = [turn for own in played for turn in own]
    if not turns:
        return []
    log_probs = [turn.said.log_probs for turn in turns]
    if _is_rescored(sampling.run, sampling.stage):
        members: dict[str, list[int]] = {}
        for index, turn in enumerate(turns):
            prompt = task_prompt(sampling.run, sampling.iteration, turn.task)
            members.setdefault(prompt, []).append(index)
        with sampling.run.clock.measure(sampling.iteration, "score"):
            scores = sampling.policy.score(
                list(members),
                [[turns[index].said.tokens for index in group] for group in members.values()],
                row_length=sampling.score_rows,
            )
        for group, scored in zip(members.values(), scores, strict=True):
            for index, candidate in zip(group, scored, strict=True):
                log_probs[index] = candidate
    of_turns = iter(log_probs)
    return [
        self_reward(np.concatenate(list(itertools.islice(of_turns, len(own)))), completion)
        for own, completion in zip(played, completions, strict=True)
    ]


def _is_rescored(run: Run, stage: Stage) -> bool:
    return stage == "refine" and run.config.loop.self_reward == "task_prompt"


def _commit(run: Run, shard: Shard, candidates: Sequence[Candidate], executing: Executing) -> None:
    """Puts a shard into the store, with b = 1 for each candidate to which the environment gave y (step 2)."""
    trajectories = [
        candidate.trajectory(shard, run.config.seed, executing.outcomes.pop((shard.number, index)))
        for index, candidate in enumerate(candidates)
    ]
    run.store.add_many(itertools.chain(*hosts.gather(trajectories)), shard=shard)
    run.clock.save()
