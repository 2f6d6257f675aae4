"""One optimiser step: at the same padded shape, and on a realistic pool of short examples.

Padded, 4 × 512: both sides compute the same places, AdamW and clipping included, once with the last quarter
of each row to learn (a long prompt) and once with all of it, where computing logits only at targets saves
nothing; ours takes a row at a time, as the configurations for CPU do. Pool, batches of 16 examples of about
60 + 10 tokens: ours packs them as configs/quickstart.py asks for, into rows of the length that a training on
these batches chooses, where what they begin with alike is there once; the peer pads to the longest of a pass.
Its rows a pass are the fastest on this machine. Real tokens of the examples are counted. A turn is the same
step twice, of which the second is timed: in a training a step follows a step.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import torch

from benchmarks import texts
from benchmarks.flops import ModelCost
from benchmarks.measure import BenchmarkError, Case, Side, Work, interleave
from benchmarks.models import Contenders
from benchmarks.runner import Bench, main
from configs import quickstart
from envisions_jax.training import Example, TrainConfig
from envisions_jax.training.config import ROW_LENGTHS
from envisions_jax.training.packing import pack, row_shapes
from envisions_jax.training.row_length import cheapest_row_length
from envisions_jax.training.step import TrainStep

TITLE = "Training: one AdamW step, float32, no recomputation"
RATE = 1e-5
CLIP = 1.0
AGREE = 1e-3
ROWS = (1, 2, 4, 8, 16)  # a pass of the peer's, those that are tried
IGNORED = -100  # the label that transformers' loss leaves out


@dataclasses.dataclass(frozen=True)
class Workload:
    """`batches[turn]` is trained on; turn -1 warms up."""

    contenders: Contenders
    batches: Sequence[Sequence[Example]]
    config: TrainConfig
    count_padding: bool

    def work(self, batch: Sequence[Example], places: int) -> Work:
        """The work of a step on `batch` in so many places."""
        real = sum(example.row_tokens + 1 for example in batch)
        note = f"{real} real tokens in {places} places ({real / places:.0%})"
        flops = ModelCost(self.contenders.policy.config).training([batch])
        return Work(places if self.count_padding else real, flops, note=note)


def measure(bench: Bench) -> list[Case]:
    """Two padded cases and the pool."""
    quick = bench.options.quick
    rows, length = (1, 64) if quick else (4, 512)
    cases = []
    for name, targets in (("4 × 512, a quarter learnt", length // 4), ("4 × 512, all learnt", length - 1)):
        if bench.wants(name):
            workload = _padded(bench.contenders, rows, length, targets)
            cases.append(_case(bench, name, "padded tokens", workload, asked=1.1))
    if bench.wants(name := "pool of short examples"):
        cases.append(_case(bench, name, "real tokens", _pool(bench), asked=1.5))
    return cases


def _case(bench: Bench, name: str, unit: str, workload: Workload, asked: float) -> Case:
    losses: dict[str, float] = {}
    rates = bench.rates()
    ours, peer = _ours(workload, losses), _peer(workload, losses)
    measured = interleave(ours, peer, bench.options.repeats)
    # The peer's loss is a mean over tokens, ours over examples: the same where all are equally long.
    if workload.count_padding and not abs(losses[ours.name] - losses[peer.name]) <= AGREE:
        raise BenchmarkError(f"{name}: the first losses differ: {losses}")
    return Case(name, unit, *measured, asked=asked, rates=rates)


def _padded(contenders: Contenders, rows: int, length: int, targets: int) -> Workload:
    tokens = texts.distinct_prompts(contenders.tokenizer, rows, length)
    batch = [Example(row[: length - targets], row[length - targets :]) for row in tokens]
    config = TrainConfig(rows=1, row_length=length, max_length=length, batch_size=rows, clip_norm=CLIP)
    return Workload(contenders, [batch], config, count_padding=True)


def _pool(bench: Bench) -> Workload:
    size, contenders = 4 if bench.options.quick else 16, bench.contenders
    count = bench.options.repeats + 1
    examples = texts.pool(contenders.tokenizer, contenders.policy.eos_ids[0], tasks=count * size)
    batches = [examples[start : start + size] for start in range(0, count * size, size)]
    settings = quickstart.get_config().train
    config = TrainConfig(
        rows=settings.rows,
        row_length=cheapest_row_length(batches, settings.rows, settings.max_length, ROW_LENGTHS),
        max_length=settings.max_length,
        batch_size=size,
        clip_norm=CLIP,
    )
    return Workload(contenders, batches, config, count_padding=False)


def _ours(workload: Workload, losses: dict[str, float]) -> Side:
    """The same programs, in the same order, as `Trainer.train` runs them."""
    config = workload.config
    step = TrainStep(workload.contenders.policy.graphdef, config)
    shapes = row_shapes(config.rows, config.row_length, config.max_length)
    state, accumulated, _ = step.start(workload.contenders.policy.params, 0)

    def run(turn: int) -> Work:
        nonlocal state, accumulated
        batch = workload.batches[turn % len(workload.batches)]
        microbatches = pack(batch, shapes)
        state, accumulated, norm, kinds = step.one_step(
            state, accumulated, (), microbatches, jnp.float32(RATE)
        )
        float(norm)  # waits for the step, as the trainer does to check it
        losses.setdefault("ours", float(kinds.sum()))
        return workload.work(batch, sum(microbatch.tokens.size for microbatch in microbatches))

    return Side("ours", run, lambda: _every_batch(workload, run), settle=run)


def _peer(workload: Workload, losses: dict[str, float]) -> Side:
    model = copy.deepcopy(workload.contenders.peer).train()
    pad = workload.contenders.tokenizer.pad_id
    # The fused AdamW is PyTorch's fastest on CPU.
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    rows = 0

    def run(turn: int) -> Work:
        batch = workload.batches[turn % len(workload.batches)]
        optimizer.zero_grad(set_to_none=True)
        loss, places = backward(model, batch, rows, pad)
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.setdefault("transformers", loss)
        work = workload.work(batch, places)
        return dataclasses.replace(work, note=f"{work.note}, {rows} rows a pass")

    def warm() -> None:
        nonlocal rows
        rows = fastest_rows(model, workload.batches[-1], pad)
        _every_batch(workload, run)

    return Side("transformers", run, warm, settle=run)


def fastest_rows(model: Any, batch: Sequence[Example], pad_id: int) -> int:
    """Rows a pass with which this machine takes the least time for `batch`: each twice, the second counts."""
    seconds: dict[int, float] = {}
    for rows in filter(lambda rows: rows <= len(batch), ROWS):
        for _ in range(2):
            begin = time.perf_counter()
            backward(model, batch, rows, pad_id)
            seconds[rows] = time.perf_counter() - begin
    model.zero_grad(set_to_none=True)
    return min(seconds, key=lambda rows: seconds[rows])


def backward(model: Any, batch: Sequence[Example], rows: int, pad_id: int) -> tuple[float, int]:
    """Adds the gradient of the mean loss of the batch's targets, `rows` examples of about one length a pass.

    Returns that loss, and the places that were computed, padding included.
    """
    targets = sum(len(example.completion_tokens) for example in batch)
    by_length = sorted(batch, key=lambda example: example.row_tokens)
    total, places = 0.0, 0
    for start in range(0, len(by_length), rows):
        members = by_length[start : start + rows]
        tokens, mask, labels = collate(members, pad_id)
        full = None if bool(mask.all()) else mask  # without a mask its attention takes a faster way
        mean = model(input_ids=tokens, attention_mask=full, labels=labels, use_cache=False).loss
        loss = mean * (sum(len(example.completion_tokens) for example in members) / targets)
        loss.backward()
        total, places = total + loss.item(), places + tokens.numel()
    return total, places


def _every_batch(workload: Workload, run: Callable[[int], Work]) -> None:
    """Warm-up: all shapes compiled, and twice, since the first step's memory comes from the system."""
    for turn in range(-1, max(1, len(workload.batches) - 1)):
        run(turn)


def collate(batch: Sequence[Example], pad_id: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(tokens, mask, labels), int64 [b t], padded on the right to the longest of the batch.

    A prompt [1 2] with the completion [3 4] beside one of three tokens in all::

        tokens 1 2 3 4    mask 1 1 1 1    labels -100 -100 3 4
        tokens 1 3 4 0    mask 1 1 1 0    labels -100 3 4 -100
    """
    length = max(example.row_tokens + 1 for example in batch)
    tokens = torch.full((len(batch), length), pad_id)
    mask = torch.zeros_like(tokens)
    labels = torch.full_like(tokens, IGNORED)
    for row, example in enumerate(batch):
        prompt, end = len(example.prompt_tokens), example.row_tokens + 1
        tokens[row, :end] = torch.tensor((*example.prompt_tokens, *example.completion_tokens))
        mask[row, :end] = 1
        labels[row, prompt:end] = torch.tensor(example.completion_tokens)
    return tokens, mask, labels


if __name__ == "__main__":
    main(["training"])
