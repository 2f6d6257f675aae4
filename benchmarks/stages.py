"""How close sampling's stages come to what this machine can do: ours alone, beside two floors.

Arithmetic: the operations that no implementation can do without, at the f32 rate of large matrix products.
Bytes: what a step must read (all weights, and each slot's keys and values), at the rate at which both cores
together read memory. The floor is the larger of the two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from benchmarks import texts
from benchmarks.flops import ModelCost
from benchmarks.measure import BenchmarkError, Case, Side, Work, take_turns
from benchmarks.models import Contenders
from benchmarks.runner import Bench, main
from envisions_jax import Policy

TITLE = "Stages of sampling beside their floors"
NEW_TOKENS = 96


def measure(bench: Bench) -> list[Case]:
    """Prefill of prompts that share nothing, and decoding with all slots in use."""
    quick, contenders = bench.options.quick, bench.contenders
    cases = []
    for count, length in ((32, 300), (8, 1500)):
        if not bench.wants(name := f"prefill, prompts of {length:,} tokens"):
            continue
        prompts = texts.distinct_prompts(contenders.tokenizer, 2 if quick else count, length)
        cases.append(_case(bench, name, _prefill(contenders, prompts), 0.85))
    for slots in (8,) if quick else (40, 80):
        if not bench.wants(name := f"decoding in {slots} slots"):
            continue
        prompts = texts.distinct_prompts(contenders.tokenizer, slots, 32)
        asked = 0.6 if slots == 80 else None
        cases.append(_case(bench, name, _decode(contenders, prompts), asked))
    return cases


def _case(bench: Bench, name: str, side: Side, asked: float | None) -> Case:
    rates = bench.rates()
    [measured] = take_turns([side], bench.options.repeats)
    return Case(name, "tokens", measured, None, asked_floor=asked, rates=rates)


def _prefill(contenders: Contenders, prompts: Sequence[Sequence[int]]) -> Side:
    cost = ModelCost(contenders.policy.config)

    def run(turn: int) -> Work:
        contenders.fresh_policy().generate(prompts, max_new_tokens=1, seed=turn)
        flops = cost.beginnings(prompts) + cost.logits(len(prompts))
        return Work(sum(map(len, prompts)), flops, note=f"{len(prompts)} prompts")

    return Side("ours", run, lambda: run(-1))


def _decode(contenders: Contenders, prompts: Sequence[Sequence[int]]) -> Side:
    """A candidate of `NEW_TOKENS` tokens in each slot; prompts are short, decoding is nearly all."""
    model = contenders.policy.config
    endless = dataclasses.replace(model, eos_token_ids=())  # so that no slot is idle before the others
    cost, steps = ModelCost(model), NEW_TOKENS - 1

    def run(turn: int) -> Work:
        policy = Policy(endless, contenders.policy.graphdef, contenders.policy.params, tokenizer=None)
        results = policy.generate(
            prompts, max_new_tokens=NEW_TOKENS, temperature=0.7, seed=turn, slots=len(prompts)
        )
        tokens = sum(len(candidate.tokens) for [candidate] in results)
        if tokens != NEW_TOKENS * len(prompts):
            raise BenchmarkError(f"{tokens} tokens of {len(prompts)} candidates that end at {NEW_TOKENS}")
        flops = cost.beginnings(prompts) + cost.logits(tokens)
        flops += sum(cost.span(len(prompt), steps) for prompt in prompts)
        read = sum(cost.cached_bytes(len(prompt) + step) for prompt in prompts for step in range(steps))
        return Work(tokens, flops, steps * cost.bytes + read, f"{steps} steps")

    return Side("ours", run, lambda: run(-1))


if __name__ == "__main__":
    main(["stages"])
