"""Exploration and refinement as the three domains ask for them, beside transformers' `generate`.

The peer gets all candidates as one left-padded batch (`num_return_sequences` of each prompt), in float32 and,
where asked, in bfloat16. It ends each candidate by the very table that our decode loop looks up, so neither
side pays for another stop rule. Both draw at the loop's temperature from the whole vocabulary; lengths are
random, hence tokens per second *and* the seconds that the same number of candidates took.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks import texts
from benchmarks.flops import ModelCost
from benchmarks.measure import Case, Side, Work, interleave
from benchmarks.models import Contenders
from benchmarks.runner import Bench, main
from benchmarks.torch_policy import candidate_length, generate_rows
from envisions_jax.sampling.sampler import Sampler

TITLE = "Sampling: 40 candidates, 8 tasks × K = 5 (refinement: one for each of 40 attempts)"
TEMPERATURE = 0.7
Prompts = tuple[list[list[int]], tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Kind:
    """One line of the table.

    Attributes:
      prompts: (tokenizer, number of tasks, K) → prompts and stop strings.
      asked: the ratio to the peer in float32; `asked_bf16`: in bfloat16, which is measured where it is set.
    """

    prompts: Callable[[Any, int, int], Prompts]
    k: int
    max_new_tokens: int
    asked: float
    asked_bf16: float | None = None


def _few_shot(style: str, tokenizer: Any, tasks: int, k: int) -> Prompts:
    return texts.few_shot_prompts(tokenizer, style, count=tasks, shared=240, own=60)


KINDS = {
    "math, one-line programs": Kind(functools.partial(_few_shot, "expression"), 5, 128, 3.0, 2.0),
    "math, functions": Kind(functools.partial(_few_shot, "pal"), 5, 128, 2.0),
    "math, refinement": Kind(texts.refinement_prompts, 1, 128, 3.0),
    "logic": Kind(lambda tokenizer, tasks, k: texts.theory_prompts(tokenizer, tasks, 700), 5, 300, 2.5),
    "web": Kind(lambda tokenizer, tasks, k: texts.page_prompts(tokenizer, tasks, 1600), 5, 60, 4.0),
}


@dataclasses.dataclass(frozen=True)
class Workload:
    """What both sides are asked for."""

    contenders: Contenders
    prompts: Sequence[Sequence[int]]
    stop: tuple[str, ...]
    k: int
    max_new_tokens: int

    @functools.cached_property
    def prompt_flops(self) -> float:
        return ModelCost(self.contenders.policy.config).prompts(self.prompts)

    def work(self, lengths: Sequence[Sequence[int]]) -> Work:
        """The work behind candidates of `lengths` tokens (per prompt, per candidate)."""
        flops = self.prompt_flops + ModelCost(self.contenders.policy.config).candidates(self.prompts, lengths)
        flat = [length for group in lengths for length in group]
        at_limit = sum(length == self.max_new_tokens for length in flat)
        note = (
            f"prompts of {min(map(len, self.prompts))} to {max(map(len, self.prompts))} tokens; "
            f"{np.mean(flat):.0f} tokens a candidate, longest {max(flat)}, {at_limit} at the limit"
        )
        return Work(sum(flat), flops, note=note)


def measure(bench: Bench) -> list[Case]:
    """One case for each kind of prompts, and one more beside the peer in bfloat16 where that is asked for."""
    quick, contenders, cases = bench.options.quick, bench.contenders, []
    for name, kind in KINDS.items():
        tasks = 2 if quick else 8
        peers = {name: ("float32", kind.asked)}
        if kind.asked_bf16 is not None:
            peers[f"{name}, peer in bfloat16"] = ("bfloat16", kind.asked_bf16)
        peers = {title: peer for title, peer in peers.items() if bench.wants(title)}
        if not peers:
            continue
        prompts, stop = kind.prompts(contenders.tokenizer, tasks, 5)
        k, limit = min(kind.k, 2) if quick else kind.k, 8 if quick else kind.max_new_tokens
        workload = Workload(contenders, prompts, stop, k, limit)
        for title, (peer, asked) in peers.items():
            rates = bench.rates()
            sides = interleave(_ours(workload), _peer(workload, peer), bench.options.repeats)
            cases.append(Case(title, "sampled tokens", *sides, asked=asked, rates=rates))
    return cases


def _ours(workload: Workload) -> Side:
    def run(turn: int) -> Work:
        # A fresh policy, so that the shared prefix is computed in every turn, as once in every stage.
        results = workload.contenders.fresh_policy().generate(
            workload.prompts,
            k=workload.k,
            temperature=TEMPERATURE,
            max_new_tokens=workload.max_new_tokens,
            stop=workload.stop,
            seed=turn,
        )
        return workload.work([[len(candidate.tokens) for candidate in group] for group in results])

    return Side("ours", run, lambda: run(-1))


def _peer(workload: Workload, dtype: str) -> Side:
    contenders = workload.contenders
    model = contenders.peer_in(dtype)
    table = Sampler(contenders.policy).stop_table(workload.stop)
    room = max(map(len, workload.prompts))

    def generate(seed: int, max_new_tokens: int) -> np.ndarray:
        torch.manual_seed(seed)
        with torch.inference_mode():
            output = generate_rows(
                model,
                contenders.policy,
                workload.prompts,
                table,
                k=workload.k,
                temperature=TEMPERATURE,
                max_new_tokens=max_new_tokens,
            )
        return output[:, room:].numpy()

    def run(turn: int) -> Work:
        rows = generate(turn, workload.max_new_tokens)
        lengths = [candidate_length(row, table) for row in rows]
        return workload.work(np.reshape(lengths, (len(workload.prompts), workload.k)).tolist())

    # PyTorch compiles nothing: two tokens touch all that a longer run does.
    return Side(f"transformers {dtype}", run, lambda: generate(0, 2))


if __name__ == "__main__":
    main(["sampling"])
