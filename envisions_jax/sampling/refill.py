"""One call of the sampler: which candidate sits where, slots refilled as they finish.

Prompts are prefilled a few at a time, those that fill a row together, just before their candidates are
needed. What a few candidates have in common, their root, is held until the last of them ends.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax.typing import DTypeLike

from envisions_jax.sampling import decode as device
from envisions_jax.sampling import prefill
from envisions_jax.sampling.cache import Cache
from envisions_jax.sampling.choose import stream_key
from envisions_jax.sampling.results import Generation
from envisions_jax.sampling.shapes import StageShape
from envisions_jax.sampling.stopping import StopTable, cut_at_stop

if TYPE_CHECKING:
    from envisions_jax.policy import Policy

ADMITTED = 8  # candidates that enter slots in one call


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How to sample; see `Policy.generate`."""

    k: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 128
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclasses.dataclass(eq=False)
class _Group:
    """Candidates that go on from one root, which may be empty."""

    prefilled: prefill.Prefilled
    root: Sequence[int]  # places in the prefilled rows, flattened
    unfinished: int
    held: int | None = None  # which of the roots on the device is theirs


@dataclasses.dataclass(frozen=True, eq=False)
class _Candidate:
    prompt: int
    k: int
    group: _Group
    seat: int  # its number in the group
    places: Sequence[int]  # of its prompt in the prefilled rows, flattened; its root's first
    limit: int

    @property
    def rest(self) -> Sequence[int]:
        return self.places[len(self.group.root) :]


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
        self.policy, self.shape, self.table, self.decoding, self.size = policy, shape, table, decoding, slots
        prefix_length = jax.device_put(np.int32(len(shape.prefix)))
        self.inputs = (policy.graphdef, policy.params, prefix, prefix_length)
        self.rule = device.Rule(
            *jax.device_put((np.float32(decoding.temperature), np.float32(decoding.top_p), table.next_state))
        )
        self.roots, self.slots = self._nobody()
        held = shape.roots(slots)
        self.free_roots = list(range(held))
        self.rows, self.root_lengths = np.zeros((held, shape.seats), np.int32), np.zeros(held, np.int32)
        self.seats = np.zeros(slots, np.int32)
        self.occupants: list[_Candidate | None] = [None] * slots
        self.prefilled: prefill.Prefilled | None = None  # what entered last came from

    def _nobody(self) -> tuple[Cache, device.Slots]:
        """Empty roots and slots.

        The host's zeros where that is the device, since a program that makes some would be compiled for each
        shape; elsewhere gigabytes would be longer on their way.
        """

        def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
            # A copy: decode writes into it.
            return jax.device_put(np.zeros(shape, dtype), self.policy.beside, may_alias=False)

        config, dtype, shape = self.policy.config, self.policy.dtype, self.shape
        if jax.default_backend() == "cpu":
            return device.nobody(config, dtype, self.size, shape, zeros)
        empty = device.compiled_nobody(config, dtype, self.size, dataclasses.replace(shape, prefix=()))
        return jax.device_put(empty, self.policy.beside)

    def results(
        self, prompts: Sequence[Sequence[int]], identities: Sequence[str]
    ) -> Iterator[tuple[tuple[int, int], Generation]]:
        """Yields ((prompt, k), candidate) as they finish."""
        waiting = collections.deque[_Candidate]()
        source = self._candidates(prompts)
        exhausted = False
        while True:
            free = [slot for slot, occupant in enumerate(self.occupants) if occupant is None]
            while not exhausted and len(waiting) < len(free):
                group = next(source, None)
                exhausted = group is None
                waiting.extend(group or ())
            entering = self._next(waiting, free)
            while further := self._next(waiting, free):
                self._decode(entering, identities, enough=0)  # they enter, and nothing is decoded yet
                entering = further
            busy = sum(occupant is not None for occupant in self.occupants)
            if not busy:
                return
            more = bool(waiting) or not exhausted
            # With nothing left to admit, run the rest to its end; else come back for one call's worth.
            enough = self.size - busy + min(busy, ADMITTED) if more else self.size
            self._decode(entering, identities, enough)
            yield from self._harvest()

    def _candidates(self, prompts: Sequence[Sequence[int]]) -> Iterator[list[_Candidate]]:
        """Prefills prompts, a batch at a time, and yields the candidates of each root.

        Prompts that are the same token for token (refinements of equal candidates) are computed once.
        """
        askers: dict[tuple[int, ...], list[int]] = {}
        for number, prompt in enumerate(prompts):
            askers.setdefault(tuple(prompt), []).append(number)
        distinct = list(askers)
        own = [prompt[len(self.shape.prefix) :] for prompt in distinct]
        for prefilled, batch in prefill.prefill_prompts(*self.inputs, own, self.shape):
            for laid, root in self._divide(batch):
                asked = [
                    (asker, k, prompt)
                    for prompt in laid
                    for asker in askers[distinct[prompt.prompt]]
                    for k in range(self.decoding.k)
                ]
                for start in range(0, len(asked), self.shape.seats):
                    members = asked[start : start + self.shape.seats]
                    group = _Group(prefilled, laid[0].places[:root], len(members))
                    yield [
                        _Candidate(asker, k, group, seat, prompt.places, self._limit(distinct[prompt.prompt]))
                        for seat, (asker, k, prompt) in enumerate(members)
                    ]

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
        self, entering: Sequence[tuple[int, _Candidate]], identities: Sequence[str], enough: int
    ) -> None:
        """Lets candidates enter, and decodes until `enough` slots are inactive."""
        if entering:
            self.prefilled = entering[0][1].group.prefilled
        assert self.prefilled is not None  # whoever decodes has entered
        # Copies: the device may read the host's arrays in place, even when the next candidates sit down.
        seating = (self.rows.copy(), self.seats.copy(), self.root_lengths.copy())
        self.roots, self.slots = device.decode(
            *self.inputs,
            self.roots,
            self.slots,
            self.rule,
            self._arrivals(entering, identities),
            self.prefilled,
            device.Seating(*jax.device_put(seating)),
            jax.device_put(np.int32(enough)),
        )

    def _next(self, waiting: collections.deque[_Candidate], free: list[int]) -> list[tuple[int, _Candidate]]:
        """Takes those that may enter in one call, each with its slot: prefilled together, roots free."""
        entering: list[tuple[int, _Candidate]] = []
        new_roots = 0
        while free and waiting and len(entering) < ADMITTED:
            group = waiting[0].group
            if entering and group.prefilled is not entering[0][1].group.prefilled:
                break
            if group.root and group.held is None:
                if not self.free_roots or new_roots == self._most_new_roots:
                    break
                group.held = self.free_roots.pop(0)
                self.root_lengths[group.held] = len(group.root)
                new_roots += 1
            slot, candidate = free.pop(0), waiting.popleft()
            self.occupants[slot] = candidate
            if group.held is not None:
                self.rows[group.held, candidate.seat] = slot
                self.seats[slot] = group.held * self.shape.seats + candidate.seat
            entering.append((slot, candidate))
        return entering

    @property
    def _most_new_roots(self) -> int:
        """In one call that admits."""
        return min(len(self.rows), -(-ADMITTED // self.shape.seats) + 1)

    def _arrivals(
        self, entering: Sequence[tuple[int, _Candidate]], identities: Sequence[str]
    ) -> device.Arrivals:
        numbers = np.zeros((5, ADMITTED), np.int32)
        keys = np.zeros((ADMITTED, 2), np.uint32)
        for place, (_, candidate) in enumerate(entering):
            row, column = divmod(candidate.places[-1], self.shape.row_length)
            lengths = len(candidate.places), len(candidate.rest)
            numbers[:, place] = row, column, *lengths, candidate.limit
            keys[place] = stream_key(self.decoding.seed, identities[candidate.prompt], candidate.k)
        # Whoever sits first brings the root.
        roots = [
            (candidate.group.held, candidate.group.root)
            for _, candidate in entering
            if candidate.seat == 0 and candidate.group.held is not None
        ]
        rests = [(slot, candidate.rest) for slot, candidate in entering]
        shape = self.shape
        return device.Arrivals(
            prefill.places_of(
                roots, shape, size=len(self.rows), room=self._most_new_roots, length=shape.root_length
            ),
            prefill.places_of(rests, shape, size=self.size, room=ADMITTED, length=shape.rest_length),
            *jax.device_put((*numbers, keys)),
        )

    def _harvest(self) -> Iterator[tuple[tuple[int, int], Generation]]:
        """Takes what finished slots hold, and frees them."""
        slots = self.slots
        active, tokens, log_probs, count, state = jax.device_get(
            (slots.active, slots.tokens, slots.log_probs, slots.count, slots.state)
        )
        for slot, occupant in enumerate(self.occupants):
            if occupant is not None and not active[slot]:
                self._leave(slot, occupant)
                end = count[slot]
                yield (
                    (occupant.prompt, occupant.k),
                    self._generation(
                        tokens[slot, :end].tolist(), log_probs[slot, :end].copy(), int(state[slot])
                    ),
                )

    def _leave(self, slot: int, candidate: _Candidate) -> None:
        self.occupants[slot] = None
        group = candidate.group
        group.unfinished -= 1
        if not group.unfinished and group.held is not None:
            self.free_roots.append(group.held)

    def _generation(self, tokens: list[int], log_probs: np.ndarray, state: int) -> Generation:
        reason = self.table.reason(int(state))
        text = self.policy.decode(tokens[:-1] if reason == "eos" else tokens)
        return Generation(cut_at_stop(text, self.decoding.stop), tokens, log_probs, reason)
