"""What speculative decoding by prompt lookup would gain on a run's own candidates: `WORKDIR` holds the run.

A draft is what followed the last occurrence of the latest tokens, in the prompt or in what was said since. A
step computes a slot's next token and d drafted ones behind it; those that the sampler draws by itself are
accepted, so that the distribution is what it was. What was sampled in a run is what would have been drawn:
which drafts would have been accepted can be counted without decoding anything again. A step with d drafted
tokens has the products of one with d + 1 times as many slots, and is timed as one.

    python -m benchmarks.prompt_lookup runs/logic-cpu
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import texts
from benchmarks.measure import BenchmarkError
from envisions_jax import Policy
from envisions_jax.memory import restart_with_huge_pages
from envisions_jax.store import StoreError, TrajectoryStore
from envisions_jax.tokenizer import Tokenizer

DRAFTS = (1, 2, 4, 7)  # tokens
LATEST = (3, 2)  # so many tokens are looked up, the longer first
MOST = 1500  # candidates of a stage
SLOTS = 40
STEPS = 24


def main() -> None:
    """Tokens a step from the run's candidates, time a step from the default model, and what follows."""
    restart_with_huge_pages()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prompt_lookup", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("workdir", type=Path, help="of a run on the default model")
    parser.add_argument("--repeats", type=int, default=3, help="times that each number of slots decodes")
    values = parser.parse_args()
    try:
        policy = Policy.from_pretrained("smollm2-135m", dtype="float32")
        assert policy.tokenizer is not None
        stages = dict(_candidates(values.workdir, policy.tokenizer))
    except (BenchmarkError, StoreError) as error:
        sys.exit(f"error: {error}")
    times = {drafted: _step_time(policy, SLOTS * (drafted + 1), values.repeats) for drafted in (0, *DRAFTS)}
    table = Table(title=f"Prompt lookup in {SLOTS} slots, candidates of {values.workdir}")
    for heading in (
        "stage",
        "candidates",
        "drafted",
        "tokens a step",
        "rows",
        "ms a step",
        "speed-up at most",
    ):
        table.add_column(heading, justify="right")
    for stage, candidates in stages.items():
        for drafted in DRAFTS:
            steps = sum(count_steps(prompt, said, drafted) for prompt, said in candidates)
            tokens = sum(len(said) for _, said in candidates) / max(1, steps)
            rows, taken = SLOTS * (drafted + 1), times[drafted]
            table.add_row(
                *(stage, f"{len(candidates):,}", str(drafted), f"{tokens:.2f}", str(rows)),
                *(f"{1e3 * taken:.0f}", f"{tokens * times[0] / taken:.2f} x"),
            )
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    plain = ", ".join(
        f"{SLOTS * (drafted + 1)} slots: {1e3 * taken / (SLOTS * (drafted + 1)):.2f}"
        for drafted, taken in times.items()
    )
    console.print(f"ms a token without drafts, {plain}", highlight=False)


def count_steps(prompt: Sequence[int], said: Sequence[int], drafted: int) -> int:
    """Steps in which `said` would have been decoded behind `prompt` with `drafted` tokens a step.

    >>> count_steps([5, 6, 7, 8, 9, 1], [5, 6, 7, 8, 9], drafted=2)  # 5; 6; 7 with 8 and 9
    3
    """
    text, followed = list(prompt), dict[tuple[int, ...], int]()
    for end in range(1, len(text)):
        _note(followed, text, end)
    steps = at = 0
    while at < len(said):
        places = (followed.get(tuple(text[-count:])) for count in LATEST if len(text) >= count)
        place = next((place for place in places if place is not None), len(text))
        draft = text[place : place + drafted]
        accepted = 0
        while accepted < len(draft) and at + accepted < len(said) and draft[accepted] == said[at + accepted]:
            accepted += 1
        for token in said[at : at + accepted + 1]:
            text.append(token)
            _note(followed, text, len(text) - 1)
        at += accepted + 1
        steps += 1
    return steps


def _note(followed: dict[tuple[int, ...], int], text: Sequence[int], end: int) -> None:
    """That the tokens before `end` were followed by what is there."""
    for count in LATEST:
        if end >= count:
            followed[tuple(text[end - count : end])] = end


def _candidates(
    workdir: Path, tokenizer: Tokenizer
) -> Iterator[tuple[str, list[tuple[list[int], list[int]]]]]:
    """Of each stage the (prompt, what was sampled) pairs: of the prompt the task, and the attempt if any."""
    path = workdir / "store.sqlite"
    if not path.exists():
        raise BenchmarkError(f"{workdir} holds no run: there is no {path.name} in it")
    with TrajectoryStore(path, read_only=True) as store:
        questions = {stored.id: stored.question for stored in store.tasks("train")}
        trajectories = store.trajectories(tokens=True)
    completions = {trajectory.id: trajectory.completion for trajectory in trajectories}
    for stage in ("explore", "refine"):
        found = [trajectory for trajectory in trajectories if trajectory.stage == stage][:MOST]
        pairs = []
        for trajectory in found:
            attempt = completions[trajectory.parent] if trajectory.parent is not None else ""
            prompt = tokenizer.encode(questions[trajectory.task_id]) + tokenizer.encode(attempt, bos=False)
            pairs.append((prompt, list(trajectory.tokens)))
        if pairs:
            yield stage, pairs


def _step_time(policy: Policy, slots: int, repeats: int) -> float:
    """Seconds a step in which so many slots decode behind a short prompt: the median."""
    assert policy.tokenizer is not None
    prompts = texts.distinct_prompts(policy.tokenizer, 1, 32)
    shape = policy.plan_stage(prompts, STEPS, slots)

    def decode(tokens: int) -> float:
        start = time.perf_counter()
        policy.generate(prompts, k=slots, max_new_tokens=tokens, temperature=1.5, slots=slots, shape=shape)
        return time.perf_counter() - start

    decode(STEPS)
    return statistics.median((decode(STEPS) - decode(1)) / (STEPS - 1) for _ in range(repeats))


if __name__ == "__main__":
    main()
