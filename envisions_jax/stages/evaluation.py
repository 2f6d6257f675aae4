"""Step 9: one deterministic answer of a policy to each test task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from envisions_jax import hosts
from envisions_jax.config import Config
from envisions_jax.metrics import Judged, Scores, scores
from envisions_jax.policy import Policy
from envisions_jax.progress import Advance
from envisions_jax.prompts import Prompts
from envisions_jax.sampling.results import Beam, Generation
from envisions_jax.sampling.shapes import StageShape
from envisions_jax.stages.executing import Executing
from envisions_jax.stages.run import Run, slots_for
from envisions_jax.stages.turns import Interaction, Turn, completion_of, play
from envisions_jax.store import EvaluationResult, Shard
from envisions_jax.store.records import BASE, COLD_START
from envs import Environment, Outcome, Task

PromptKind = Literal["zero_shot", "few_shot"]
_NAMES = {BASE: "base", COLD_START: "cold start"}


@dataclass(frozen=True, eq=False)
class Test:
    """A task of a test set."""

    set_name: str
    task: Task


@dataclass(frozen=True, kw_only=True)
class Exam:
    """What all answers of one evaluation have in common; `planned` fills in the last three."""

    prompts: Prompts
    shots: int
    interaction: Interaction
    config: Config
    tasks: int  # that are asked together
    first: tuple[str, ...] = ()  # the prompts of the first turn
    slots: int = 0
    shape: StageShape | None = None

    def prompt(self, task: Task) -> str:
        return self.prompts.explore(task, shots=self.shots)

    def planned(self, policy: Policy, tasks: Sequence[Task]) -> "Exam":
        """With a shape that holds the prompts of `tasks` too; one that held them already stays the same."""
        everything = (*self.first, *map(self.prompt, tasks))
        settings = self.config.eval
        shape = policy.plan_stage(everything, settings.max_new_tokens)
        slots = self.slots or slots_for(self.config, policy, shape, self.tasks * settings.beams)
        return replace(self, first=self.first or everything, slots=slots, shape=shape)


def evaluate(run: Run, iteration: int, policy: Policy, kind: PromptKind = "zero_shot") -> Scores:
    """Scores of the policy trained in `iteration` by test set, answers into the store shard by shard.

    All sets are one stage: they share compiled programs, and a small set leaves no slot empty.
    """
    config, stage = run.config.eval, f"evaluate/{kind}"
    tests = [Test(name, task) for name, tasks in run.test_sets.items() for task in tasks]
    shots = run.config.prompt.shots if kind == "few_shot" else 0
    finished = run.store.done_shards(iteration, stage)
    shards = [tests[start : start + config.shard_tasks] for start in range(0, len(tests), config.shard_tasks)]
    own = [hosts.part(shard) for shard in shards]  # of this process
    done = sum(len(own[number]) for number in finished)
    _ = policy.sampled_with  # now, by all processes: of a short shard one may have no part
    exam = Exam(
        prompts=run.prompts,
        shots=shots,
        interaction=run.interaction,
        config=run.config,
        tasks=max(1, len(own[0])),
    ).planned(policy, [test.task for test in tests])
    who = _NAMES.get(iteration, str(iteration + 1))
    name = f"evaluate {who} {kind.replace('_', '-')}"
    turns = exam.interaction.turns
    with run.reporter.stage(name, turns * sum(map(len, own)), turns * done, samples=True) as advance:
        for number, shard in enumerate(own):
            if number in finished:
                continue
            with run.clock.measure(iteration, "evaluate"):
                answered = examine(policy, exam, run.test_environment, shard, advance)
                album = run.workdir.screenshots(iteration, kind)
                results = filed(run.prompts, shard, answered, iteration, kind, album)
            results = [result for part in hosts.gather(results) for result in part]
            run.store.add_evaluations(results, shard=Shard(iteration, stage, number))
            run.clock.save()
    return scores({name: _judged(run, iteration, name, kind) for name in run.test_sets})


def _judged(run: Run, iteration: int, name: str, kind: PromptKind) -> list[Judged]:
    """Every task of a test set, as the store has it."""
    answers = {task.id: task.answer for task in run.test_sets[name]}
    results = run.store.evaluations(iteration, name, kind)
    return [Judged(answers[result.task_id], result.outcome, result.error) for result in results]


class Answered(NamedTuple):
    """What a policy said to a task, and what came of it."""

    completion: str
    outcome: Outcome


def examine(
    policy: Policy, exam: Exam, environment: Environment, tests: Sequence[Test], advance: Advance
) -> list[Answered]:
    """Answers to some of the exam's tasks, each executed while others are still being sampled."""
    with Executing(environment, lambda _: None) as executing:

        def finished(number: int, completion: str) -> None:
            executing.add((0, number), tests[number].task, exam.prompts.program_of(completion))

        completions = _answers(policy, exam, [test.task for test in tests], advance, finished)
        executing.wait()
        return [Answered(said, executing.outcomes[0, number]) for number, said in enumerate(completions)]


def _answers(
    policy: Policy,
    exam: Exam,
    tasks: Sequence[Task],
    advance: Advance,
    finished: Callable[[int, str], None],
) -> list[str]:
    """Completions, turn by turn; `finished` is told (number of the task, completion) as soon as may be.

    That is when all have had all their turns, where there are several: these are played in the same
    environment, which works for one thread at a time.
    """
    has_one_turn = exam.interaction.turns == 1
    said = _say(policy, exam, tasks, advance, finished if has_one_turn else None)
    first = [Turn(task, one) for task, one in zip(tasks, said, strict=True)]

    def say(number: int, indices: Sequence[int], seen: Sequence[Task]) -> list[Generation | Beam]:
        return _say(policy, exam.planned(policy, seen), seen, advance)

    played = play(exam.interaction, exam.prompts, first, say)
    advance(sum(exam.interaction.turns - len(turns) for turns in played))  # what was over earlier
    completions = [completion_of(turns, exam.prompts) for turns in played]
    for number, completion in () if has_one_turn else enumerate(completions):
        finished(number, completion)
    return completions


def _say(
    policy: Policy,
    exam: Exam,
    tasks: Sequence[Task],
    advance: Advance,
    finished: Callable[[int, str], None] | None = None,
) -> list[Generation | Beam]:
    """One turn, by beam search, or greedily with one beam; `finished` is told of each as it ends."""
    texts, config = [exam.prompt(task) for task in tasks], exam.config.eval
    if config.beams == 1:
        sampled = policy.generate(
            texts,
            temperature=0.0,
            max_new_tokens=config.max_new_tokens,
            stop=exam.prompts.stop,
            slots=exam.slots,
            shape=exam.shape,
            progress=advance,
            finished=finished and (lambda number, _, said: finished(number, said.text)),
        )
        return [candidates[0] for candidates in sampled]
    found = policy.beam_search(
        texts,
        beams=config.beams,
        max_new_tokens=config.max_new_tokens,
        stop=exam.prompts.stop,
        slots=exam.slots,
        shape=exam.shape,
        progress=advance,
        finished=finished and (lambda number, beams: finished(number, beams[0].text)),
    )
    return [candidates[0] for candidates in found]


def filed(
    prompts: Prompts,
    tests: Sequence[Test],
    answers: Sequence[Answered],
    iteration: int,
    kind: PromptKind,
    album: Path | None = None,
) -> list[EvaluationResult]:
    """What the store keeps of answers; their pictures, if there are any, are put into folder `album`."""
    if album is not None:
        _keep_pictures(album, tests, [answer.outcome for answer in answers])
    return [
        EvaluationResult(
            iteration=iteration,
            test_set=test.set_name,
            task_id=test.task.id,
            program=prompts.program_of(completion),
            outcome=outcome.kind,
            prompt=kind,
            completion=completion,
            value=outcome.value,
            error=outcome.error,
            output=outcome.output,
        )
        for test, (completion, outcome) in zip(tests, answers, strict=True)
    ]


def _keep_pictures(album: Path, tests: Sequence[Test], outcomes: Sequence[Outcome]) -> None:
    if any(outcome.pictures for outcome in outcomes):
        album.mkdir(parents=True, exist_ok=True)
    for test, outcome in zip(tests, outcomes, strict=True):
        name = test.task.id.replace("/", "-")
        for when, picture in zip(("before", "after"), outcome.pictures, strict=False):  # it may end early
            (album / f"{name}-{when}.png").write_bytes(picture)
