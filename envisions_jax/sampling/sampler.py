"""The host's side of sampling: K candidates for each prompt, slots refilled as they finish.

Prompts are prefilled a few at a time, those that fill a row together, just before their candidates are
needed; each prefilled prompt serves its K candidates, then its keys and values are dropped.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from envisions_jax.sampling import decode as device
from envisions_jax.sampling import prefill
from envisions_jax.sampling.cache import Cache
from envisions_jax.sampling.choose import stream_key
from envisions_jax.sampling.results import Generation
from envisions_jax.sampling.shapes import StageShape, plan
from envisions_jax.sampling.stopping import StopTable, build_stop_table, cut_at_stop

if TYPE_CHECKING:
    from envisions_jax.policy import Policy

ADMITTED = 8  # candidates that enter slots in one call
DEFAULT_SLOTS = 40  # XLA:CPU: the f32 products reach most of their speed here


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How to sample; see `Policy.generate`."""

    k: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 128
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class _Candidate:
    prompt: int
    k: int
    prefilled: prefill.Prefilled
    places: Sequence[int]  # of its prompt in the prefilled rows, flattened
    limit: int


class Sampler:
    """Samples from one policy. Compiled programs are shared by all policies of the same shape."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._prefixes: collections.OrderedDict[tuple[tuple[int, ...], int], Cache] = (
            collections.OrderedDict()
        )

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        identities: Sequence[str],
        decoding: Decoding,
        *,
        shape: StageShape | None = None,
        slots: int | None = None,
        progress: Callable[[int], None] | None = None,
        finished: Callable[[int, int, Generation], None] | None = None,
    ) -> list[list[Generation]]:
        """K candidates for each prompt, in prompt order.

        Args:
          identities: name each prompt's random stream.
          shape: of the stage these prompts are a part of; by default they are all of it.
          slots: how many candidates decode side by side.
          progress: told how many more candidates are done.
          finished: told each candidate as it ends.
        """
        if not prompts:
            return []
        shape = shape or plan(prompts, decoding.max_new_tokens)
        run = _Run(self, shape, decoding, slots or min(DEFAULT_SLOTS, -(-len(prompts) * decoding.k // 8) * 8))
        found: dict[tuple[int, int], Generation] = {}
        for (prompt, k), generation in run.results(prompts, identities):
            found[prompt, k] = generation
            if finished:
                finished(prompt, k, generation)
            if progress:
                progress(1)
        return [[found[prompt, k] for k in range(decoding.k)] for prompt in range(len(prompts))]

    def prefix_cache(self, shape: StageShape) -> Cache:
        """Keys and values of the stage's shared prefix; the last two stages' are kept."""
        key = (shape.prefix, shape.prefix_length)
        if key not in self._prefixes:
            tokens = prefill.pad_tokens([list(shape.prefix)], (1, shape.prefix_length))
            policy = self._policy
            self._prefixes[key] = prefill.prefill_prefix(policy.graphdef, policy.params, jnp.asarray(tokens))
            if len(self._prefixes) > 2:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(key)
        return self._prefixes[key]

    def stop_table(self, stop: tuple[str, ...]) -> StopTable:
        tokenizer = self._policy.tokenizer
        size = self._policy.config.vocab_size
        if tokenizer is None:
            return build_stop_table([], stop, self._policy.eos_ids, size)
        return _stop_table(tokenizer, stop, tuple(self._policy.eos_ids), size)

    @property
    def policy(self) -> Policy:
        return self._policy


@functools.lru_cache(maxsize=16)
def _stop_table(tokenizer: object, stop: tuple[str, ...], eos_ids: tuple[int, ...], size: int) -> StopTable:
    from envisions_jax.tokenizer import Tokenizer

    assert isinstance(tokenizer, Tokenizer)
    texts = [tokenizer.token_bytes(token) for token in range(min(size, tokenizer.vocab_size))]
    return build_stop_table(texts, stop, eos_ids, size)


class _Run:
    """One call of `Sampler.generate`."""

    def __init__(self, sampler: Sampler, shape: StageShape, decoding: Decoding, slots: int) -> None:
        self.policy = policy = sampler.policy
        self.shape, self.decoding, self.size = shape, decoding, slots
        self.table = sampler.stop_table(decoding.stop)
        prefix_length = jnp.int32(len(shape.prefix))
        self.inputs = (policy.graphdef, policy.params, sampler.prefix_cache(shape), prefix_length)
        self.rule = device.Rule(
            temperature=jnp.float32(decoding.temperature),
            top_p=jnp.float32(decoding.top_p),
            next_state=jnp.asarray(self.table.next_state),
        )
        dtype = policy.dtype
        self.prompt_cache = device.empty_cache(policy.config, slots, shape.prompt_length, dtype)
        self.slots = device.empty_slots(policy.config, slots, shape.new_length, dtype)
        self.occupants: list[tuple[int, int] | None] = [None] * slots

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
            self._admit(waiting, free, identities)
            busy = sum(occupant is not None for occupant in self.occupants)
            if not busy:
                return
            more = bool(waiting) or not exhausted
            # With nothing left to admit, run the rest to its end; else come back for one call's worth.
            enough = self.size - busy + min(busy, ADMITTED) if more else self.size
            self.slots = device.decode(
                *self.inputs, self.prompt_cache, self.slots, self.rule, jnp.int32(enough)
            )
            yield from self._harvest()

    def _candidates(self, prompts: Sequence[Sequence[int]]) -> Iterator[list[_Candidate]]:
        """Prefills prompts, a batch at a time, and yields the candidates of each prompt.

        Prompts that are the same token for token (refinements of equal candidates) are computed once.
        """
        askers: dict[tuple[int, ...], list[int]] = {}
        for number, prompt in enumerate(prompts):
            askers.setdefault(tuple(prompt), []).append(number)
        distinct = list(askers)
        own = [prompt[len(self.shape.prefix) :] for prompt in distinct]
        for prefilled, members in prefill.prefill_prompts(*self.inputs, own, self.shape):
            for number, places in members:
                limit = self._limit(distinct[number])
                yield [
                    _Candidate(asker, k, prefilled, places, limit)
                    for asker in askers[distinct[number]]
                    for k in range(self.decoding.k)
                ]

    def _limit(self, prompt: Sequence[int]) -> int:
        room = self.policy.config.max_position_embeddings - len(prompt)
        return min(self.decoding.max_new_tokens, room)

    def _admit(
        self, waiting: collections.deque[_Candidate], free: list[int], identities: Sequence[str]
    ) -> None:
        while free and waiting:
            prefilled = waiting[0].prefilled
            entering: list[tuple[int, _Candidate]] = []
            while free and waiting and waiting[0].prefilled is prefilled and len(entering) < ADMITTED:
                entering.append((free.pop(0), waiting.popleft()))
            for slot, candidate in entering:
                self.occupants[slot] = (candidate.prompt, candidate.k)
            self.prompt_cache, self.slots = device.admit(
                self.policy.graphdef,
                self.policy.params,
                self.prompt_cache,
                self.slots,
                self.rule,
                self._arrivals(entering, identities),
                prefilled,
            )

    def _arrivals(self, entering: list[tuple[int, _Candidate]], identities: Sequence[str]) -> device.Arrivals:
        limit, keys = np.ones(ADMITTED, np.int32), np.zeros((ADMITTED, 2), np.uint32)
        for place, (_, candidate) in enumerate(entering):
            limit[place] = candidate.limit
            keys[place] = stream_key(self.decoding.seed, identities[candidate.prompt], candidate.k)
        wanted = [(slot, candidate.places) for slot, candidate in entering]
        prompts = prefill.prompt_places(wanted, self.shape, self.size, ADMITTED)
        return device.Arrivals(prompts, jnp.asarray(limit), jnp.asarray(keys))

    def _harvest(self) -> Iterator[tuple[tuple[int, int], Generation]]:
        """Takes what finished slots hold, and frees them."""
        slots = self.slots
        active, tokens, log_probs, count, state = jax.device_get(
            (slots.active, slots.tokens, slots.log_probs, slots.count, slots.state)
        )
        for slot, occupant in enumerate(self.occupants):
            if occupant is not None and not active[slot]:
                self.occupants[slot] = None
                end = count[slot]
                yield (
                    occupant,
                    self._generation(
                        tokens[slot, :end].tolist(), log_probs[slot, :end].copy(), int(state[slot])
                    ),
                )

    def _generation(self, tokens: list[int], log_probs: np.ndarray, state: int) -> Generation:
        reason = self.table.reason(int(state))
        text = self.policy.decode(tokens[:-1] if reason == "eos" else tokens)
        return Generation(cut_at_stop(text, self.decoding.stop), tokens, log_probs, reason)
