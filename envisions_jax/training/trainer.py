"""Training a policy from given weights on L = L1 + L2 (paper, section 3.3: AdamW, linear decay, warm-up).

    loss = mean over the examples of a step of (mean over completion tokens of -log π(token | before it))

One optimiser step is `batch_size` examples, packed into as many microbatches of few fixed shapes as they
need; their gradients are accumulated in float32 and applied once.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from envisions_jax import hosts
from envisions_jax.parallel.layout import Layout, platform_of
from envisions_jax.parallel.mesh import LANES
from envisions_jax.training.checkpoints import CheckpointError, Checkpoints
from envisions_jax.training.config import TrainConfig, learning_rate, row_lengths
from envisions_jax.training.examples import KINDS, Example, all_batches, truncate
from envisions_jax.training.identity import check_alike, identity_of
from envisions_jax.training.packing import Microbatch, RowShape, pack, row_shapes, side_by_side
from envisions_jax.training.row_length import cheapest_row_length, typical_steps
from envisions_jax.training.step import TrainState, TrainStep

logger = logging.getLogger(__name__)


@runtime_checkable
class HasModel(Protocol):
    """What the trainer needs of a `Policy`: the model's structure, without its weights."""

    @property
    def graphdef(self) -> Any: ...


class TrainingError(RuntimeError):
    """Training cannot go on: no examples, or the gradient is no longer finite."""


@dataclasses.dataclass(frozen=True)
class StepStats:
    """One optimiser step. `l1` and `l2` are means over its examples of that kind, None where it has none."""

    step: int  # from 1
    num_steps: int
    loss: float
    l1: float | None
    l2: float | None
    gradient_norm: float  # before clipping
    learning_rate: float
    examples: int
    targets: int
    tokens: int  # of its examples
    places: int  # that they took in rows: what they share is there once
    row_places: int  # that the rows have


@dataclasses.dataclass(frozen=True)
class TrainStats:
    """A whole training, steps before a resume included."""

    steps: tuple[StepStats, ...]
    examples: int  # trained on
    shortened: int  # of which cut to max_length
    dropped: int  # not trained on: no target
    compiled: int  # programs compiled by the trainer so far
    resumed_from: int  # steps that an earlier, interrupted call had done
    seconds: float  # of this call

    @property
    def loss(self) -> float:
        """Mean of the steps' losses."""
        return sum(step.loss for step in self.steps) / len(self.steps)

    @property
    def fill(self) -> float:
        """Share of the places in packed rows that held a token."""
        return sum(step.places for step in self.steps) / sum(step.row_places for step in self.steps)


OnStep = Callable[[StepStats], None]


class Trainer:
    """Trains any weights of one architecture; what is compiled is kept from one `train` to the next."""

    def __init__(self, policy: HasModel, config: TrainConfig, layout: Layout | None = None) -> None:
        self.config = config
        self._step = TrainStep(policy.graphdef, config, layout)
        self._layout = layout
        self._lanes = 1 if layout is None else layout.lanes

    @property
    def compiled(self) -> int:
        """Programs compiled so far: three, or four with LoRA, and one more for each other shape of rows.

        On one CPU one less, or as many if a step has more than `STACK` microbatches; another shape may take
        two.
        """
        return self._step.compiled

    def plan_rows(self, examples: Sequence[Example], kept: int | None = None) -> int:
        """How long the rows are in which `train` packs these: `config.row_length` where that is not 0.

        kept: of an earlier training, as in `row_length.cheapest_row_length`.
        """
        if self.config.row_length:
            return self.config.row_length
        steps = typical_steps(truncate(examples, self.config.max_length).examples, self.config.batch_size)
        lengths = row_lengths(platform_of(self._layout))
        return cheapest_row_length(steps, self.config.rows, self.config.max_length, lengths, kept)

    def train(
        self,
        params0: Any,
        examples: Sequence[Example],
        seed: int = 0,
        *,
        epochs: int | None = None,
        row_length: int | None = None,
        checkpoint_dir: str | Path | None = None,
        on_step: OnStep | None = None,
    ) -> tuple[Any, TrainStats]:
        """Train a copy of `params0`, or adapters of it, for `epochs` (`config.epochs`) over `examples`.

        Called again after a kill with the same arguments and `checkpoint_dir`, it goes on from the newest
        whole checkpoint and returns what an uninterrupted call returns, bit for bit on CPU in float32. The
        directory is the caller's to remove afterwards.

        Args:
            params0: weights to start from; not changed.
            examples: in any order; the order of training follows from `seed` and the epoch.
            seed: of the data order, and of LoRA's adapters.
            row_length: from `plan_rows`; by default what that says of these examples.
            checkpoint_dir: where to keep mid-training checkpoints; none are written without it.
            on_step: called after each step of this call (not for steps done before a resume).

        Returns:
            (weights with the types of `params0`, statistics).

        Raises:
            TrainingError: nothing to train on, or the gradient is no longer finite.
            CheckpointError: `checkpoint_dir` is of other data, weights or settings, or cannot be written.
        """
        begin = time.perf_counter()
        epochs = epochs or self.config.epochs
        kept, shortened, dropped = truncate(examples, self.config.max_length)
        if not kept:
            raise TrainingError(
                f"no examples to train on: {len(examples)} given, {dropped} of them without a target"
            )
        row_length = row_length or self.plan_rows(examples)
        settings = dataclasses.replace(self.config, epochs=epochs, row_length=row_length)
        shapes = row_shapes(settings.rows, row_length, settings.max_length)
        with self._checkpoints(checkpoint_dir) as checkpoints:
            first = self._everywhere(seed % 2**32, np.uint32)
            state, accumulated, sums = self._step.start(params0, first)
            history: list[StepStats] = []
            identity = identity_of(settings, params0, sums, kept, seed)
            check_alike(identity)
            if checkpoints is not None and checkpoints.steps():
                like = jax.tree.map(_shape, state)
                del state  # two of them may be more than there is memory for
                restored = _resume(checkpoints, like, identity)
                state, history = restored or (self._step.start(params0, first).state, [])
            resumed_from = len(history)
            plan = all_batches(len(kept), self.config.batch_size, seed, epochs)
            frozen = self._step.frozen(params0)
            prepared = map(functools.partial(self._prepare, kept, shapes), plan[resumed_from:])
            ready = next(prepared, None)
            for step in range(resumed_from, len(plan)):
                assert ready is not None  # there are as many as steps
                batch, microbatches, placed = ready
                rate = learning_rate(self.config, step, len(plan))
                state, accumulated, norm, kinds = self._step.one_step(
                    state, accumulated, frozen, placed, self._everywhere(rate)
                )
                ready = next(prepared, None)  # while the device works
                stats = _step_stats(
                    step, len(plan), rate, float(norm), np.asarray(kinds), batch, microbatches
                )
                history.append(stats)
                if on_step is not None:
                    on_step(stats)
                if checkpoints is not None and self._is_time_to_save(step + 1, len(plan)):
                    checkpoints.save(step + 1, state, {"identity": identity, "history": _to_json(history)})
        params = self._step.finish(state, params0)
        seconds = time.perf_counter() - begin
        return params, TrainStats(
            tuple(history), len(kept), shortened, dropped, self.compiled, resumed_from, seconds
        )

    def _prepare(
        self, examples: Sequence[Example], shapes: Sequence[RowShape], chosen: np.ndarray
    ) -> tuple[list[Example], list[Microbatch], list[Microbatch]]:
        """The examples of a step, their microbatches, and these where the devices look for them."""
        batch = [examples[i] for i in chosen]
        microbatches = side_by_side(pack(batch, shapes), self._lanes)
        return batch, microbatches, [self._placed(microbatch) for microbatch in microbatches]

    def _placed(self, rows: Microbatch) -> Microbatch:
        """A microbatch where the devices look for it, divided over their lanes."""
        if self._layout is None:
            return rows
        sharding = NamedSharding(self._layout.mesh, PartitionSpec(LANES))
        return Microbatch(*(hosts.placed(array, sharding) for array in rows))

    def _everywhere(self, number: float, dtype: type[np.generic] = np.float32) -> Any:
        """A number that every device has."""
        if self._layout is None:
            return jax.device_put(dtype(number))
        return hosts.placed(dtype(number), NamedSharding(self._layout.mesh, PartitionSpec()))

    def _is_time_to_save(self, done: int, num_steps: int) -> bool:
        """Not after the last step: the result is returned at once."""
        return done % self.config.checkpoint_every_steps == 0 and done < num_steps

    def _checkpoints(self, directory: str | Path | None) -> AbstractContextManager[Checkpoints | None]:
        if directory is None or not self.config.checkpoint_every_steps:
            return nullcontext()
        return Checkpoints(directory, keep=self.config.keep)


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _resume(
    checkpoints: Checkpoints, like: TrainState, identity: dict[str, Any]
) -> tuple[TrainState, list[StepStats]] | None:
    """State and history of the newest whole checkpoint of a state like this one; None if there is none."""
    restored = checkpoints.latest(like)
    if restored is None:
        return None
    found = restored.metadata["identity"]
    # What an earlier version did not write down is taken to agree.
    differing = [name for name, value in identity.items() if found.get(name, value) != value]
    if differing:
        raise CheckpointError(
            f"the checkpoints in {checkpoints.directory} belong to another training: "
            f"different {', '.join(differing)}; remove that directory, or use another one"
        )
    logger.info("training resumed at step %d from %s", restored.step, checkpoints.directory)
    return restored.tree, [StepStats(**record) for record in restored.metadata["history"]]


def _to_json(history: Sequence[StepStats]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(stats) for stats in history]


def _step_stats(
    step: int,
    num_steps: int,
    rate: float,
    norm: float,
    kinds: np.ndarray,
    batch: Sequence[Example],
    microbatches: Sequence[Microbatch],
) -> StepStats:
    if not math.isfinite(norm):
        raise TrainingError(
            f"the gradient of step {step + 1} of {num_steps} is {norm}; "
            f"lower train.learning_rate (now at {rate:.2g})"
        )
    count = {kind: sum(example.kind == kind for example in batch) for kind in KINDS}
    mean = {
        kind: float(total) * len(batch) / count[kind] if count[kind] else None
        for kind, total in zip(KINDS, kinds, strict=True)
    }
    return StepStats(
        step=step + 1,
        num_steps=num_steps,
        loss=float(kinds.sum()),
        l1=mean["L1"],
        l2=mean["L2"],
        gradient_norm=norm,
        learning_rate=rate,
        examples=len(batch),
        targets=sum(len(example.completion_tokens) for example in batch),
        tokens=sum(example.row_tokens for example in batch),
        places=sum(int((microbatch.ends > 0).sum()) for microbatch in microbatches),
        row_places=sum(microbatch.tokens.size for microbatch in microbatches),
    )
