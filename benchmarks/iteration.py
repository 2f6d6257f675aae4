"""One whole iteration of the method: ours beside the same iteration on PyTorch and transformers.

The second iteration of the quickstart on 128 tasks: explore, execute, refine, execute, score, select, train,
evaluate. Both sides start from the same first iteration (policy, pool and weights), and have the same tasks,
prompts, K, limits, environment, store and selection; what computes differs (`benchmarks.torch_policy`).
"""

from __future__ import annotations

import copy
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import transformers

from benchmarks.flops import ModelCost
from benchmarks.measure import Case, Measured, Side, Work, take_turns
from benchmarks.models import Contenders
from benchmarks.runner import Bench, main
from benchmarks.torch_policy import TorchPolicy, train
from benchmarks.training import fastest_rows
from configs import quickstart
from envisions_jax.config import Config, from_config_dict
from envisions_jax.loop import run_iteration
from envisions_jax.main import open_run
from envisions_jax.memory import spare_garbage_collector
from envisions_jax.progress import Reporter
from envisions_jax.stages.candidates import explore, refine
from envisions_jax.stages.evaluation import evaluate
from envisions_jax.stages.learning import make_trainer, policy_of, select_examples, training_examples
from envisions_jax.stages.run import Run, fold
from envisions_jax.task_sets import given_tasks
from envisions_jax.training import Example
from envisions_jax.training.examples import all_batches
from envisions_jax.workdir import WorkDir
from envs import Task

TITLE = "A whole iteration: 128 tasks × 5 candidates and as many refinements, training, 200 tests"
ITERATION = 1  # the first with refinements and zero-shot prompts
WHOLE = "whole iteration"
STAGES = ("generate", "score", "execute", "train", "evaluate")
TRIED = 64  # prompts on which the peer's batch sizes are tried


def measure(bench: Bench) -> list[Case]:
    """The whole, then its stages, of the same turns."""
    spare_garbage_collector()  # as a run does
    with tempfile.TemporaryDirectory(prefix="envisions-benchmark-") as folder:
        start = Start(Path(folder), bench.contenders, _config(bench.options.quick))
        parts: dict[str, list[dict[str, Part]]] = {"ours": [], "transformers": []}
        sides = [
            turns_of("ours", start, start.ours, parts["ours"]),
            turns_of("transformers", start, start.peer, parts["transformers"]),
        ]
        rates = bench.rates()
        measured = take_turns(sides, bench.options.repeats)
    cases = []
    for stage in (WHOLE, *STAGES):
        mine, theirs = (_of_stage(side, [turn[stage] for turn in parts[side.name]]) for side in measured)
        name, asked = (stage, 4.0) if stage == WHOLE else (f"of which {stage}", None)
        cases.append(Case(name, "times", mine, theirs, asked=asked, rates=rates))
    return cases


class Part(NamedTuple):
    """What a stage took, and the operations that it cannot do without."""

    seconds: float
    flops: float


def least_flops(run: Run) -> dict[str, float]:
    """Operations that the stages of the iteration that `run` has just been through cannot do without.

    Each by itself, from nothing; training in the steps that ours takes.
    """
    cost, examples = ModelCost(run.base.config), _examples(run)
    train, most = run.config.train, run.config.eval.max_new_tokens
    seed = fold(run.config.seed, "train", ITERATION)
    batches = all_batches(len(examples), train.batch_size, seed, train.epochs)
    steps = [[examples[i] for i in batch] for batch in batches]

    def prompt(task: Task) -> list[int]:
        return run.tokenizer.encode(run.prompts.explore(task, shots=0))

    def sampled(prompts: Sequence[list[int]], lengths: Sequence[Sequence[int]]) -> float:
        return cost.prompts(prompts) + cost.candidates(prompts, lengths)

    tasks = {task.id: task for task in run.train_tasks.explored(ITERATION)}
    tried = {one.id: one for one in run.store.trajectories(ITERATION, "explore")}
    refined = run.store.trajectories(ITERATION, "refine")
    explored = [[one.num_tokens for one in tried.values() if one.task_id == name] for name in tasks]
    shown = [
        run.tokenizer.encode(run.refinement_prompt(tasks[one.task_id], tried[str(one.parent)]))
        for one in refined
    ]
    answered, lengths = [], []
    for name, tests in run.test_sets.items():
        said = {one.task_id: one.completion for one in run.store.evaluations(ITERATION, name, "zero_shot")}
        answered += [prompt(task) for task in tests]
        # Its last token ended it, unless it was cut.
        lengths += [[min(most, len(run.tokenizer.encode_completion(said[task.id])) + 1)] for task in tests]
    return {
        "generate": sampled([*map(prompt, tasks.values())], explored)
        + sampled(shown, [[one.num_tokens] for one in refined]),
        "score": cost.scoring(
            [prompt(tasks[one.task_id]) for one in refined], [one.tokens for one in refined]
        ),
        "train": cost.training(steps),
        "evaluate": sampled(answered, lengths),
    }


def _examples(run: Run) -> Sequence[Example]:
    """What the iteration trains on."""
    return training_examples(run, ITERATION, select_examples(run, ITERATION)).examples


def _config(quick: bool) -> Config:
    settings = quickstart.get_config("tiny" if quick else "")
    settings.tasks.train_size = 12 if quick else 128
    settings.sampler.shard_tasks = settings.tasks.train_size
    settings.loop.iterations = ITERATION + 1
    settings.eval.base = settings.checkpoint.export = settings.tensorboard = settings.progress = False
    return from_config_dict(settings)


def _of_stage(side: Measured, parts: Sequence[Part]) -> Measured:
    """`side` with the seconds and the work of a part of its turns."""
    turns = [
        replace(turn, seconds=max(part.seconds, 1e-9), work=replace(turn.work, flops=part.flops))
        for turn, part in zip(side.turns, parts, strict=True)
    ]
    return replace(side, turns=tuple(turns))


def turns_of(name: str, start: Start, iterate: Callable[[Run], str], parts: list[dict[str, Part]]) -> Side:
    """Each turn is the iteration in a copy of the work directory that the first one left; `parts` gets its
    stages and the whole, without copying and opening.
    """

    def run(turn: int) -> Work:
        with start.copy() as run:
            begin = time.perf_counter()
            note = iterate(run)
            whole = time.perf_counter() - begin
            times, flops = run.clock.seconds(ITERATION), least_flops(run)
        stages = {stage: Part(times.get(stage, 0.0), flops.get(stage, 0.0)) for stage in STAGES}
        parts.append({WHOLE: Part(whole, sum(flops.values())), **stages})
        return Work(1, note=note)

    return Side(name, run, lambda: start.warm(name))


class Start:
    """What both sides begin with: a run whose first iteration is done."""

    def __init__(self, folder: Path, contenders: Contenders, config: Config) -> None:
        self.folder, self.config, self.contenders = folder, config, contenders
        self.given, self.reporter = given_tasks(config), Reporter(bars=False)
        self.batches: dict[str, int] = {}
        with self._open("start") as run:
            self.trainer = make_trainer(run)
            run_iteration(run, self.trainer, ITERATION - 1)
            policy_of(run, ITERATION - 1).save_pretrained(folder / "policy")
        self.explorer = transformers.AutoModelForCausalLM.from_pretrained(
            folder / "policy", dtype=torch.float32
        )

    @contextmanager
    def _open(self, name: str) -> Iterator[Run]:
        with open_run(self.config, WorkDir(self.folder / name), self.given, self.reporter) as run:
            yield run

    @contextmanager
    def copy(self) -> Iterator[Run]:
        """The run after its first iteration, in a folder of its own."""
        shutil.rmtree(self.folder / "turn", ignore_errors=True)
        shutil.copytree(self.folder / "start", self.folder / "turn")
        with self._open("turn") as run:
            yield run

    def ours(self, run: Run) -> str:
        run_iteration(run, self.trainer, ITERATION)
        return _told(run)

    def peer(self, run: Run) -> str:
        run.store.add_tasks("train", run.train_tasks.explored(ITERATION))
        ours = TorchPolicy(self.explorer, run.base, self.batches)
        explore(run, ITERATION, ours)
        refine(run, ITERATION, ours)
        examples = _examples(run)
        with run.clock.measure(ITERATION, "train"):
            seed, rows = fold(run.config.seed, "train", ITERATION), self.batches["train"]
            pad = ours.encoder.pad_id
            model = train(self.contenders.peer, examples, self.trainer.config, pad, seed, rows)
        trained = TorchPolicy(model, run.base, self.batches)
        evaluate(run, ITERATION, trained)
        return f"{_told(run)}; rows a batch: {self.batches}"

    def warm(self, name: str) -> None:
        """Ours: the iteration once, for what is compiled. The peer: its batch sizes are tried."""
        if name == "ours":
            with self.copy() as run:
                self.ours(run)
            return
        with self.copy() as run:
            policy = TorchPolicy(self.explorer, run.base, self.batches)
            tasks = run.train_tasks.explored(ITERATION)[:TRIED]
            asked = [run.prompts.explore(task, shots=0) for task in tasks]
            settings = run.config.sampler
            for temperature in (settings.temperature, 0.0):
                said = policy.generate(
                    asked,
                    k=settings.k if temperature else 1,
                    temperature=temperature,
                    max_new_tokens=settings.max_new_tokens,
                    stop=run.prompts.stop,
                    progress=lambda _: None,
                )
            policy.score(asked, [[one.tokens for one in group] for group in said])
            examples = training_examples(run, ITERATION - 1, select_examples(run, ITERATION - 1)).examples
            model = copy.deepcopy(self.contenders.peer).train()
            batch = examples[: self.trainer.config.batch_size]
            self.batches["train"] = fastest_rows(model, batch, policy.encoder.pad_id)


def _told(run: Run) -> str:
    tests = [
        result for name in run.test_sets for result in run.store.evaluations(ITERATION, name, "zero_shot")
    ]
    right = sum(result.outcome == "correct" for result in tests)
    kept = run.store.trajectories(ITERATION, tokens=False)
    good = sum(one.correct for one in kept)
    return f"{len(kept)} candidates, {good} right; {right} of {len(tests)} tests right"


if __name__ == "__main__":
    main(["iteration"])
