"""Sampling from one policy: what is kept from one call to the next, and the results in order."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax

from envisions_jax.budget import default_slots
from envisions_jax.sampling import prefill
from envisions_jax.sampling.cache import Cache
from envisions_jax.sampling.refill import Decoding, Refill
from envisions_jax.sampling.results import Generation
from envisions_jax.sampling.shapes import StageShape, plan, prefix_room
from envisions_jax.sampling.stopping import StopTable, build_stop_table

if TYPE_CHECKING:
    from envisions_jax.policy import Policy


class Sampler:
    """Samples from one policy. Compiled programs are shared by all policies of the same shape."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._prefixes: collections.OrderedDict[tuple[int, ...], Cache] = collections.OrderedDict()

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
        shape = shape or plan(prompts, decoding.max_new_tokens, decoding.k)
        refill = Refill(
            self._policy,
            shape,
            self.prefix_cache(shape.prefix),
            self.stop_table(decoding.stop),
            decoding,
            slots or min(default_slots(self._policy, shape), -(-len(prompts) * decoding.k // 8) * 8),
        )
        found: dict[tuple[int, int], Generation] = {}
        for (prompt, k), generation in refill.results(prompts, identities):
            found[prompt, k] = generation
            if finished:
                finished(prompt, k, generation)
            if progress:
                progress(1)
        return [[found[prompt, k] for k in range(decoding.k)] for prompt in range(len(prompts))]

    def prefix_cache(self, prefix: tuple[int, ...]) -> Cache:
        """Keys and values of a stage's shared prefix, none of an empty one; the last two stages' are kept."""
        if not prefix:
            return ()
        if prefix not in self._prefixes:
            tokens = prefill.pad_tokens([list(prefix)], (1, prefix_room(prefix)))
            policy = self._policy
            self._prefixes[prefix] = prefill.prefill_prefix(
                policy.graphdef, policy.sampled_with, jax.device_put(tokens)
            )
            if len(self._prefixes) > 2:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(prefix)
        return self._prefixes[prefix]

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
