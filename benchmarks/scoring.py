"""Self-reward: log-probabilities of K = 5 completions of 64 tokens for each of 8 prompts of 300 tokens.

The peer forwards all 40 rows of 364 tokens, in the batch size that serves it best on this machine, asks for
logits of the last 65 positions only, and gathers from their log-softmax. Prompts that have nothing in common
are the main case; few-shot prompts, of which we compute the shared 240 tokens once, are the other.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence

import numpy as np
import torch

from benchmarks import texts
from benchmarks.flops import ModelCost
from benchmarks.measure import BenchmarkError, Case, Side, Work, interleave
from benchmarks.models import Contenders
from benchmarks.runner import Bench, main

TITLE = "Scoring: 8 prompts of 300 tokens × 5 completions of 64 tokens"
AGREE = 1e-3
BATCH_SIZES = (5, 10, 20, 40)


@dataclasses.dataclass(frozen=True)
class Workload:
    """What both sides are asked for; every prompt is as long as every other, and so are completions."""

    contenders: Contenders
    prompts: Sequence[Sequence[int]]
    completions: Sequence[Sequence[Sequence[int]]]

    @property
    def rows(self) -> torch.Tensor:
        """int64 [prompts·k, prompt + completion]."""
        rows = [
            [*prompt, *completion]
            for prompt, group in zip(self.prompts, self.completions, strict=True)
            for completion in group
        ]
        return torch.tensor(rows)

    @property
    def scored(self) -> int:
        """Tokens of one completion."""
        return len(self.completions[0][0])

    @functools.cached_property
    def work(self) -> Work:
        """Floor: what texts begin with alike once, and the logits after it."""
        pairs = [
            (prompt, completion)
            for prompt, group in zip(self.prompts, self.completions, strict=True)
            for completion in group
        ]
        flops = ModelCost(self.contenders.policy.config).scoring(*zip(*pairs, strict=True))
        return Work(sum(len(completion) for _, completion in pairs), flops)


def measure(bench: Bench) -> list[Case]:
    """Prompts with nothing in common, then few-shot prompts."""
    tokenizer, quick = bench.contenders.tokenizer, bench.options.quick
    count, k = (2, 2) if quick else (8, 5)
    few_shot, _ = texts.few_shot_prompts(tokenizer, "expression", count, shared=240, own=60)
    length = min(map(len, few_shot))  # of equal lengths, so that the peer needs no padding
    continuations = texts.completions(tokenizer, count, k, 64)
    workloads = {
        "nothing shared": Workload(
            bench.contenders, texts.distinct_prompts(tokenizer, count, 300), continuations
        ),
        "240 tokens shared": Workload(
            bench.contenders, [prompt[:length] for prompt in few_shot], continuations
        ),
    }
    cases = []
    for name, workload in workloads.items():
        if not bench.wants(name):
            continue
        rates = bench.rates()
        batch = _best_batch(workload)
        _check(workload)
        floor = 0.8 if name == "nothing shared" else None
        ours, peer = interleave(_ours(workload), _peer(workload, batch), bench.options.repeats)
        cases.append(Case(name, "scored tokens", ours, peer, asked=3.0, asked_floor=floor, rates=rates))
    return cases


def _ours(workload: Workload) -> Side:
    def run(turn: int) -> Work:
        workload.contenders.fresh_policy().score(workload.prompts, workload.completions)
        return workload.work

    return Side("ours", run, lambda: run(0))


def _peer(workload: Workload, batch: int) -> Side:
    rows = workload.rows

    def run(turn: int) -> Work:
        for start in range(0, len(rows), batch):
            peer_scores(workload, rows[start : start + batch])
        return dataclasses.replace(workload.work, note=f"{batch} rows a batch")

    return Side("transformers", run, lambda: peer_scores(workload, rows[:batch]))


def peer_scores(workload: Workload, rows: torch.Tensor) -> torch.Tensor:
    """transformers' log-probabilities f32 [b, scored] of the last tokens of `rows`."""
    scored = workload.scored
    with torch.inference_mode():
        logits = workload.contenders.peer(rows, logits_to_keep=scored + 1, use_cache=False).logits[:, :-1]
        log_probs = torch.log_softmax(logits.float(), dim=-1)
        return log_probs.gather(-1, rows[:, -scored:, None])[..., 0]


def _best_batch(workload: Workload) -> int:
    """The batch size with the most rows a second, one batch of each tried."""
    rows = workload.rows
    peer_scores(workload, rows[:1])
    speed: dict[int, float] = {}
    for batch in BATCH_SIZES:
        if batch <= len(rows):
            start = time.perf_counter()
            peer_scores(workload, rows[:batch])
            speed[batch] = batch / (time.perf_counter() - start)
    return max(speed, key=lambda batch: speed[batch]) if speed else len(rows)


def _check(workload: Workload) -> None:
    """Both sides must give the same numbers for the first prompt's completions."""
    group = workload.completions[0]
    ours = np.stack(workload.contenders.policy.score(workload.prompts[:1], [group])[0])
    theirs = peer_scores(workload, workload.rows[: len(group)]).numpy()
    difference = float(np.abs(ours - theirs).max())
    if not difference <= AGREE:
        raise BenchmarkError(f"the two sides' log-probabilities differ by {difference:.2g}, allowed {AGREE}")


if __name__ == "__main__":
    main(["scoring"])
