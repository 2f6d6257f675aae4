"""One call of the sampler: prompts prefilled, candidates let into slots, slots refilled as they finish.

Prompts are prefilled a few at a time, those that fill a row together, just before their candidates are
needed. What a few candidates have in common, their root, is held until the last of them ends.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax.typing import DTypeLike

from envisions_jax.sampling import decode as device
from envisions_jax.sampling import prefill
from envisions_jax.sampling.cache import Cache, host_zeros
from envisions_jax.sampling.choose import stream_key
from envisions_jax.sampling.lane import ENDED, Candidate, Group, Lane
from envisions_jax.sampling.results import Generation
from envisions_jax.sampling.shapes import StageShape
from envisions_jax.sampling.stopping import StopTable, cut_at_stop

if TYPE_CHECKING:
    from envisions_jax.policy import Policy


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How to sample; see `Policy.generate`."""

    k: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 128
    stop: tuple[str, ...] = ()
    seed: int = 0


class Refill:
    """One call of `Sampler.generate`."""

    def __init__(
        self,
        policy: Policy,
        shape: StageShape,
        prefix: Cache,
        table: StopTable,
        decoding: Decoding,
        slots: int,
    ) -> None:
        self.policy, self.shape, self.table, self.decoding = policy, shape, table, decoding
        prefix_length = jax.device_put(np.int32(len(shape.prefix)))
        self.inputs = (policy.graphdef, policy.layout, policy.sampled_with, prefix, prefix_length)
        self.rule = device.Rule(
            *jax.device_put((np.float32(decoding.temperature), np.float32(decoding.top_p), table.next_state))
        )
        self.size = -(-slots // policy.lanes)  # of each lane
        self.lanes = [Lane(shape, self.size) for _ in range(policy.lanes)]
        self.roots, self.slots = self._nobody()
        self.prefilled: prefill.Prefilled | None = None  # what entered last came from

    def _nobody(self) -> tuple[Cache, device.Slots]:
        """Empty roots and slots of all lanes.

        The host's zeros where that is the device, since a program that makes some would be compiled for each
        shape; elsewhere gigabytes would be longer on their way.
        """

        def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
            return host_zeros((len(self.lanes) * shape[0], *shape[1:]), dtype, self.policy.rows(len(shape)))

        config, dtype, shape = self.policy.config, self.policy.dtype, self.shape
        if self.policy.platform == "cpu":
            form = device.form_of(self.policy.layout)
            return device.nobody(config, dtype, self.size, shape, zeros, form)
        return device.compiled_nobody(
            config, dtype, self.size, dataclasses.replace(shape, prefix=()), self.policy.layout
        )

    def results(
        self, prompts: Sequence[Sequence[int]], identities: Sequence[str]
    ) -> Iterator[tuple[tuple[int, int], Generation]]:
        """Yields ((prompt, k), candidate) as they finish."""
        source = self._batches(prompts)
        exhausted = False
        while True:
            entering = self._let_in([[] for _ in self.lanes], identities)
            while not exhausted and any(lane.is_short for lane in self.lanes):
                batch = next(source, None)
                exhausted = batch is None
                for lane, candidates in zip(self.lanes, batch or [], strict=False):
                    lane.waiting.extend(candidates)
                # At once, so that beside the rows that are computed only those before them are held.
                entering = self._let_in(entering, identities)
            if not any(lane.busy for lane in self.lanes):
                return
            self._decode(entering, identities, [self._enough(lane, exhausted) for lane in self.lanes])
            yield from self._harvest()

    def _let_in(
        self, entering: list[list[tuple[int, Candidate]]], identities: Sequence[str]
    ) -> list[list[tuple[int, Candidate]]]:
        """Lets all enter that may, after `entering`; returns the last call's worth, who are yet to."""
        while any(further := self._admit()):
            if any(entering):  # nothing is decoded yet
                self._decode(entering, identities, [0] * len(self.lanes))
            entering = further
        return entering

    def _enough(self, lane: Lane, exhausted: bool) -> int:
        """Inactive slots at which a lane's decoding ends."""
        more = bool(lane.waiting) or not exhausted
        # With nothing left to admit, run the rest to its end; else come back when a few have ended.
        return self.size - lane.busy + min(lane.busy, ENDED) if more else self.size

    def _admit(self) -> list[list[tuple[int, Candidate]]]:
        """For each lane those that enter in one call: all of prompts that were prefilled together."""
        first = [group.batch for lane in self.lanes if (group := lane.first())]
        return [lane.admit(min(first)) if first else [] for lane in self.lanes]

    def _batches(self, prompts: Sequence[Sequence[int]]) -> Iterator[list[list[Candidate]]]:
        """Prefills prompts, a batch for each lane at a time, and yields the candidates of each lane.

        Prompts that are the same token for token (refinements of equal candidates) are computed once.
        """
        askers: dict[tuple[int, ...], list[int]] = {}
        for number, prompt in enumerate(prompts):
            askers.setdefault(tuple(prompt), []).append(number)
        distinct = list(askers)
        own = [prompt[len(self.shape.prefix) :] for prompt in distinct]
        batches = prefill.prefill_prompts(*self.inputs, own, self.shape)
        for number, (prefilled, laid) in enumerate(batches):
            yield [
                [
                    candidate
                    for tree, root in self._divide(part)
                    for candidate in self._candidates(number, prefilled, tree, root, distinct, askers)
                ]
                for part in laid
            ]

    def _candidates(
        self,
        batch: int,
        prefilled: prefill.Prefilled,
        tree: Sequence[prefill.Laid],
        root: int,
        prompts: Sequence[tuple[int, ...]],
        askers: Mapping[tuple[int, ...], Sequence[int]],
    ) -> Iterator[Candidate]:
        """All candidates of prompts that go on from one root, as many to a group as it has seats."""
        asked = [
            (asker, k, laid)
            for laid in tree
            for asker in askers[prompts[laid.prompt]]
            for k in range(self.decoding.k)
        ]
        for start in range(0, len(asked), self.shape.seats):
            members = asked[start : start + self.shape.seats]
            group = Group(batch, prefilled, tree[0].places[:root], len(members))
            for seat, (asker, k, laid) in enumerate(members):
                limit = self._limit(prompts[laid.prompt])
                yield Candidate(asker, k, group, seat, laid.places, laid.after, limit)

    def _divide(self, batch: Sequence[prefill.Laid]) -> Iterator[tuple[list[prefill.Laid], int]]:
        """The prompts that go on from one root, and how many of their tokens it is."""
        shape = self.shape
        for _, members in itertools.groupby(batch, lambda laid: laid.tree):
            tree = list(members)
            root = min(tree[0].shared, shape.root_length)
            longest = max(len(laid.places) for laid in tree)
            if self.decoding.k == 1 and len(tree) > 1 and longest - root <= shape.rest_length:
                yield tree, root
                continue
            for laid in tree:  # a root only for a prompt of several candidates, or one that is too long
                length = len(laid.places)
                has_root = self.decoding.k > 1 or length > shape.rest_length
                yield [laid], min(length, shape.root_length) if has_root else 0

    def _limit(self, prompt: Sequence[int]) -> int:
        room = self.policy.config.max_position_embeddings - len(prompt)
        return min(self.decoding.max_new_tokens, room)

    def _decode(
        self,
        entering: Sequence[Sequence[tuple[int, Candidate]]],
        identities: Sequence[str],
        enough: Sequence[int],
    ) -> None:
        """Lets candidates enter, and decodes until in each lane `enough` slots are inactive."""
        for _, candidate in itertools.chain(*entering):
            group = candidate.group
            self.prefilled = group.prefilled
            if candidate.seat == group.size - 1:  # they enter in order
                group.prefilled = None
        assert self.prefilled is not None  # whoever decodes has entered

        def key(candidate: Candidate) -> np.ndarray:
            return stream_key(self.decoding.seed, identities[candidate.prompt], candidate.k)

        arrivals = [lane.arrivals(new, key) for lane, new in zip(self.lanes, entering, strict=True)]
        roots, rests, others = (self._beside(*parts) for parts in zip(*arrivals, strict=True))
        self.roots, self.slots = device.decode(
            *self.inputs,
            self.rule,
            self.roots,
            self.slots,
            device.Arrivals(prefill.Places(*roots), prefill.Places(*rests), *others),
            self.prefilled,
            device.Seating(*self._beside(*(lane.seating() for lane in self.lanes))),
            jax.device_put(np.asarray(enough, np.int32)),
        )

    def _beside(self, *of_lanes: Sequence[np.ndarray]) -> Sequence[jax.Array]:
        """The same arrays of all lanes, side by side, on the device."""
        together = tuple(np.concatenate(arrays) for arrays in zip(*of_lanes, strict=True))
        return jax.device_put(together)

    def _harvest(self) -> Iterator[tuple[tuple[int, int], Generation]]:
        """Takes what finished slots hold, and frees them."""
        slots = self.slots
        active, tokens, log_probs, count, state = jax.device_get(
            (slots.active, slots.tokens, slots.log_probs, slots.count, slots.state)
        )
        for number, lane in enumerate(self.lanes):
            first = number * self.size
            for slot, candidate in lane.leave(active[first : first + self.size]):
                at, end = first + slot, count[first + slot]
                found = self._generation(
                    tokens[at, :end].tolist(), log_probs[at, :end].copy(), int(state[at])
                )
                yield (candidate.prompt, candidate.k), found

    def _generation(self, tokens: list[int], log_probs: np.ndarray, state: int) -> Generation:
        reason = self.table.reason(int(state))
        text = self.policy.decode(tokens[:-1] if reason == "eos" else tokens)
        return Generation(cut_at_stop(text, self.decoding.stop), tokens, log_probs, reason)
