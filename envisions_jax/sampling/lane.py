"""The host's side of one lane of slots: who sits where, which root is whose, and who waits.

A lane is what one device decodes by itself, or a group of devices that share the inside of layers
(`envisions_jax.parallel`); without a mesh there is one.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool

from envisions_jax.sampling import prefill
from envisions_jax.sampling.shapes import StageShape

ADMITTED = 16  # candidates that enter a lane's slots in one call; of short ones a dozen end in a step
ENDED = 8  # candidates of a lane that have ended when the host takes them


@dataclasses.dataclass(eq=False)
class Group:
    """Candidates that go on from one root, which may be empty."""

    batch: int  # of the prompts that were prefilled together, in their order
    prefilled: prefill.Prefilled | None  # None once all have entered, so that the rows can go
    root: Sequence[int]  # places in the lane's prefilled rows, flattened
    size: int
    held: int | None = None  # which of the lane's roots is theirs

    def __post_init__(self) -> None:
        self.unfinished = self.size


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """The `k`-th candidate of a prompt."""

    prompt: int
    k: int
    group: Group
    seat: int  # its number in the group
    places: Sequence[int]  # of its prompt in the lane's prefilled rows, flattened; its root's first
    after: int  # which of the lane's prefilled logits are those after its prompt
    limit: int

    @property
    def rest(self) -> Sequence[int]:
        """Where its prompt lies behind the root."""
        return self.places[len(self.group.root) :]


class Lane:
    """`size` slots, and the roots that they go on from."""

    def __init__(self, shape: StageShape, size: int) -> None:
        self.shape, self.size = shape, size
        self.waiting = collections.deque[Candidate]()
        self.occupants: list[Candidate | None] = [None] * size
        held = shape.roots(size)
        self._free_roots = list(range(held))
        self._most_new_roots = min(held, -(-ADMITTED // shape.seats) + 1)  # in one call that admits
        self._rows, self._root_lengths = np.zeros((held, shape.seats), np.int32), np.zeros(held, np.int32)
        self._seats = np.zeros(size, np.int32)

    @property
    def busy(self) -> int:
        """Slots in use."""
        return sum(occupant is not None for occupant in self.occupants)

    @property
    def is_short(self) -> bool:
        """Would more slots be free than candidates wait for?"""
        return len(self.waiting) < self.size - self.busy

    def first(self) -> Group | None:
        """Whose candidate may enter next; None if nobody waits, or there is no room."""
        if not self.waiting or self.busy == self.size:
            return None
        group = self.waiting[0].group
        needs_root = bool(group.root) and group.held is None
        return None if needs_root and not self._free_roots else group

    def admit(self, batch: int) -> list[tuple[int, Candidate]]:
        """Seats those of `batch` that may enter in one call, each with its slot."""
        entering: list[tuple[int, Candidate]] = []
        new_roots = 0
        while len(entering) < ADMITTED and (group := self.first()) and group.batch == batch:
            if group.root and group.held is None:
                if new_roots == self._most_new_roots:
                    break
                group.held = self._free_roots.pop(0)
                self._root_lengths[group.held] = len(group.root)
                new_roots += 1
            slot, candidate = self.occupants.index(None), self.waiting.popleft()
            self.occupants[slot], self._seats[slot] = candidate, -1
            if group.held is not None:
                self._rows[group.held, candidate.seat] = slot
                self._seats[slot] = group.held * self.shape.seats + candidate.seat
            entering.append((slot, candidate))
        return entering

    def leave(self, is_active: Bool[np.ndarray, " slots"]) -> Iterator[tuple[int, Candidate]]:
        """Frees the slots whose candidates have ended, and tells them."""
        for slot, candidate in enumerate(self.occupants):
            if candidate is None or is_active[slot]:
                continue
            self.occupants[slot] = None
            group = candidate.group
            group.unfinished -= 1
            if not group.unfinished and group.held is not None:
                self._free_roots.append(group.held)
            yield slot, candidate

    def seating(self) -> tuple[np.ndarray, ...]:
        """The fields of `decode.Seating`."""
        # Copies: the device may read the host's arrays in place, even when the next candidates sit down.
        return self._rows.copy(), self._seats.copy(), self._root_lengths.copy()

    def arrivals(
        self, entering: Sequence[tuple[int, Candidate]], key: Callable[[Candidate], np.ndarray]
    ) -> tuple[prefill.HostPlaces, prefill.HostPlaces, tuple[np.ndarray, ...]]:
        """The fields of `decode.Arrivals`: new roots, rests, and the others."""
        shape = self.shape
        numbers = np.zeros((4, ADMITTED), np.int32)
        keys = np.zeros((ADMITTED, 2), np.uint32)
        for place, (_, candidate) in enumerate(entering):
            lengths = len(candidate.places), len(candidate.rest)
            numbers[:, place] = candidate.after, *lengths, candidate.limit
            keys[place] = key(candidate)
        # Whoever sits first brings the root.
        roots = [
            (candidate.group.held, candidate.group.root)
            for _, candidate in entering
            if candidate.seat == 0 and candidate.group.held is not None
        ]
        rests = [(slot, candidate.rest) for slot, candidate in entering]
        held = len(self._rows)
        return (
            prefill.places_of(roots, shape, size=held, room=self._most_new_roots, length=shape.root_length),
            prefill.places_of(rests, shape, size=self.size, room=ADMITTED, length=shape.rest_length),
            (*numbers, keys),
        )
