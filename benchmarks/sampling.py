"""Exploration: K = 5 candidates for each of 8 tasks, 300-token prompts, 240 of them shared, natural stops.

The peer is transformers' `generate` with `num_return_sequences`, all candidates in one left-padded batch.
It ends each candidate by the very table that our decode loop looks up, so neither side pays for another
stop rule. Both draw at the loop's temperature from the whole vocabulary; lengths are random, hence tokens
per second *and* the seconds that the same number of candidates took.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks import texts
from benchmarks.flops import ModelCost
from benchmarks.measure import Case, Side, Work, interleave
from benchmarks.models import Contenders
from benchmarks.runner import Bench, main
from envisions_jax.sampling.sampler import Sampler
from envisions_jax.sampling.stopping import StopTable

TITLE = "Sampling: 8 tasks × 5 candidates, 300-token prompts (240 shared), up to 128 new tokens"
TEMPERATURE = 0.7
STYLES = {"expression": "one-line programs", "pal": "functions"}


@dataclasses.dataclass(frozen=True)
class Workload:
    """What both sides are asked for."""

    contenders: Contenders
    prompts: Sequence[Sequence[int]]
    shared: int
    stop: tuple[str, ...]
    k: int
    max_new_tokens: int

    def work(self, lengths: Sequence[Sequence[int]]) -> Work:
        """The work behind candidates of `lengths` tokens (per prompt, per candidate).

        Floor: the shared prefix once, the rest of each prompt once, and of each candidate all tokens but
        the last; logits once a prompt, and after each of those.
        """
        cost = ModelCost(self.contenders.policy.config)
        flops = cost.span(0, self.shared) + cost.logits(len(self.prompts))
        for prompt, group in zip(self.prompts, lengths, strict=True):
            flops += cost.span(self.shared, len(prompt) - self.shared)
            for length in group:
                flops += cost.span(len(prompt), length - 1) + cost.logits(length - 1)
        flat = [length for group in lengths for length in group]
        at_limit = sum(length == self.max_new_tokens for length in flat)
        note = f"{np.mean(flat):.0f} tokens a candidate, longest {max(flat)}, {at_limit} at the limit"
        return Work(sum(flat), flops, note)


class SameStop(transformers.StoppingCriteria):
    """Ends a row where our sampler would: the same automaton, one look-up a token."""

    def __init__(self, table: StopTable, rows: int) -> None:
        self.next_state = torch.from_numpy(table.next_state.astype(np.int64))
        self.stopped = table.stopped
        self.state = torch.zeros(rows, dtype=torch.long)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        self.state = self.next_state[self.state, input_ids[:, -1]]
        return self.state >= self.stopped


def measure(bench: Bench) -> list[Case]:
    """One case for each style of program."""
    quick = bench.options.quick
    cases = []
    for style, name in STYLES.items():
        prompts, stop = texts.few_shot_prompts(
            bench.contenders.tokenizer, style, count=2 if quick else 8, shared=240, own=60
        )
        workload = Workload(bench.contenders, prompts, 240, stop, 2 if quick else 5, 8 if quick else 128)
        rate = bench.flops_rate()
        ours, peer = interleave(_ours(workload), _peer(workload), bench.options.repeats)
        cases.append(Case(name, "sampled tokens", ours, peer, asked=1.5, flops_rate=rate))
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


def _peer(workload: Workload) -> Side:
    contenders = workload.contenders
    table = Sampler(contenders.policy).stop_table(workload.stop)
    pad = contenders.tokenizer.pad_id
    room = max(map(len, workload.prompts))
    tokens = torch.full((len(workload.prompts), room), pad)
    mask = torch.zeros_like(tokens)
    for row, prompt in enumerate(workload.prompts):
        tokens[row, room - len(prompt) :] = torch.tensor(prompt)
        mask[row, room - len(prompt) :] = 1

    def generate(seed: int, max_new_tokens: int) -> np.ndarray:
        torch.manual_seed(seed)
        with torch.inference_mode():
            output = contenders.peer.generate(
                input_ids=tokens,
                attention_mask=mask,
                do_sample=True,
                temperature=TEMPERATURE,
                top_k=0,
                top_p=1.0,
                num_return_sequences=workload.k,
                max_new_tokens=max_new_tokens,
                pad_token_id=pad,
                eos_token_id=list(contenders.policy.eos_ids),
                stopping_criteria=transformers.StoppingCriteriaList(
                    [SameStop(table, len(tokens) * workload.k)]
                ),
            )
        return output[:, room:].numpy()

    def run(turn: int) -> Work:
        rows = generate(turn, workload.max_new_tokens)
        lengths = [_length(row, table) for row in rows]
        return workload.work(np.reshape(lengths, (len(workload.prompts), workload.k)).tolist())

    # PyTorch compiles nothing: two tokens touch all that a longer run does.
    return Side("transformers", run, lambda: generate(0, 2))


def _length(row: np.ndarray, table: StopTable) -> int:
    """Tokens up to the one that ended the row, as our `Generation.tokens` has them; the rest is padding."""
    state = 0
    for place, token in enumerate(row):
        state = table.next_state[state, token]
        if state >= table.stopped:
            return place + 1
    return len(row)


if __name__ == "__main__":
    main(["sampling"])
