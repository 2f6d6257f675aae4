"""Beam search, with the bookkeeping of transformers' `generate(num_beams=…)` at its defaults.

That is: length penalty 1 (a finished beam's score is its log-probability divided by its number of
tokens, the end-of-sequence token included), `early_stopping=False` (a prompt is done once its best
running beam, divided by the present length, is no better than its worst finished one), and twice as
many continuations as beams looked at, so that ending beams never starve the running ones. Checked
against transformers 5.23 in the tests: sequences and scores.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from envisions_jax.models.attention import Seen, attend
from envisions_jax.models.llama import Llama
from envisions_jax.parallel.layout import Layout, in_lanes, in_step
from envisions_jax.sampling.cache import Cache, LayerCache, host_zeros
from envisions_jax.sampling.decode import empty_cache
from envisions_jax.sampling.prefill import (
    Laid,
    Places,
    Prefilled,
    places_of,
    prefill_lanes,
    put,
    seen_of_prefix,
)
from envisions_jax.sampling.results import Beam
from envisions_jax.sampling.shapes import StageShape, plan
from envisions_jax.sampling.stopping import StopTable, cut_at_stop

if TYPE_CHECKING:
    from envisions_jax.sampling.sampler import Sampler

WORST = -1e9  # the score of a beam that is not there


@struct.dataclass
class Beams:
    """`p` prompts, `b` beams each, `n` room for new tokens."""

    cache: Cache  # of new tokens, of p·b rows
    tokens: Int[Array, "p b n"]
    scores: Float[Array, "p b"]  # summed log-probabilities of the running beams
    state: Int[Array, "p b"]  # of the stop table
    done_tokens: Int[Array, "p b n"]
    done_scores: Float[Array, "p b"]  # already divided by the length
    done_count: Int[Array, "p b"]
    done_state: Int[Array, "p b"]
    finished: Bool[Array, "p b"]  # is there a finished beam in this place
    improving: Bool[Array, " p"]  # can a running beam still beat the finished ones
    step: Int[Array, ""]  # new tokens so far


def beam_search(
    sampler: Sampler,
    prompts: Sequence[Sequence[int]],
    *,
    beams: int,
    max_new_tokens: int,
    stop: tuple[str, ...] = (),
    slots: int,
    shape: StageShape | None = None,
    progress: Callable[[int], None] | None = None,
    finished: Callable[[int, list[Beam]], None] | None = None,
) -> list[list[Beam]]:
    """For each prompt its `beams` best sequences, best first."""
    if not prompts:
        return []
    shape = shape or plan(prompts, max_new_tokens, beams)
    table = sampler.stop_table(stop)
    lanes = sampler.policy.lanes
    rows = max(1, slots // (beams * lanes))  # of each lane
    results: list[list[Beam]] = []
    for start in range(0, len(prompts), rows * lanes):
        batch = prompts[start : start + rows * lanes]
        results += _search(sampler, batch, rows, beams, max_new_tokens, stop, table, shape)
        if finished:
            for number in range(start, len(results)):
                finished(number, results[number])
        if progress:
            progress(len(batch))
    return results


def _search(
    sampler: Sampler,
    prompts: Sequence[Sequence[int]],
    rows: int,
    beams: int,
    max_new_tokens: int,
    stop: tuple[str, ...],
    table: StopTable,
    shape: StageShape,
) -> list[list[Beam]]:
    policy, lanes = sampler.policy, sampler.policy.lanes
    own = [list(prompt[len(shape.prefix) :]) for prompt in prompts]
    lengths = np.ones(lanes * rows, np.int32)
    lengths[: len(own)] = [len(tokens) for tokens in own]
    context = policy.config.max_position_embeddings
    limits = np.minimum(max_new_tokens, context - len(shape.prefix) - lengths).astype(np.int32)
    limits[len(own) :] = 1  # rows without a prompt end at once
    given = (policy.graphdef, policy.layout, policy.sampled_with)
    prefix, prefix_length = sampler.prefix_cache(shape.prefix), jax.device_put(np.int32(len(shape.prefix)))

    def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        return host_zeros(shape, dtype, policy.rows(len(shape)))

    prompt_cache = empty_cache(policy.config, lanes * rows, shape.prompt_length, policy.dtype, zeros)
    logits = zeros((lanes * rows, policy.config.vocab_size), jnp.float32)
    of_lanes = [own[start : start + rows] for start in range(0, lanes * rows, rows)]
    for prefilled, laid in prefill_lanes(*given, prefix, prefix_length, of_lanes, shape):
        arrivals = [_arrivals(batch, rows, shape) for batch in laid]
        to, row, columns, after = jax.device_put(tuple(map(np.concatenate, zip(*arrivals, strict=True))))
        places = Places(to, row, columns)
        prompt_cache, logits = _put(policy.layout, prompt_cache, logits, prefilled, places, after)
    fields = search(
        *given,
        prefix,
        prefix_length,
        jax.device_put(table.next_state),
        prompt_cache,
        logits,
        *jax.device_put((lengths, limits)),
        shape.new_length,
        beams,
        len(policy.eos_ids),
    )
    done_tokens, done_scores, done_count, done_state = jax.device_get(fields)

    def beam(row: int, place: int) -> Beam:
        ids = done_tokens[row, place, : done_count[row, place]].tolist()
        reason = table.reason(int(done_state[row, place]))
        text = cut_at_stop(policy.decode(ids[:-1] if reason == "eos" else ids), stop)
        return Beam(text, ids, float(done_scores[row, place]), reason)

    return [[beam(row, place) for place in range(beams)] for row in range(len(prompts))]


def _arrivals(batch: Sequence[Laid], rows: int, shape: StageShape) -> tuple[np.ndarray, ...]:
    """The fields of `Places` for a lane's prompts, and which logits are those after them."""
    wanted = [(laid.prompt, laid.places) for laid in batch]
    after = np.zeros(rows, np.int32)
    after[: len(batch)] = [laid.after for laid in batch]
    return *places_of(wanted, shape, size=rows, room=rows, length=shape.prompt_length), after


@functools.partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def _put(
    layout: Layout | None,
    cache: Cache,
    logits: Float[Array, "p v"],
    prefilled: Prefilled,
    places: Places,
    after: Int[Array, " p"],
) -> tuple[Cache, Float[Array, "p v"]]:
    """Prompts, and the logits after them, where the search expects them."""

    def in_lane(
        cache: Cache, logits: Array, prefilled: Prefilled, places: Places, after: Array
    ) -> tuple[Cache, Array]:
        new = prefilled.logits[after]
        return put(cache, prefilled, places), logits.at[places.to].set(new, mode="drop")

    return in_lanes(layout, in_lane, shared=0)(cache, logits, prefilled, places, after)


@functools.partial(jax.jit, static_argnums=(0, 1, 10, 11, 12))
def search(
    graphdef: nnx.GraphDef[Llama],
    layout: Layout | None,
    params: nnx.State,
    prefix: Cache,
    prefix_length: Int[Array, ""],
    next_state: Int[Array, "states v"],
    prompt_cache: Cache,
    prompt_logits: Float[Array, "p v"],
    prompt_lengths: Int[Array, " p"],
    limits: Int[Array, " p"],
    room: int,
    beams: int,
    ends: int,
) -> tuple[Int[Array, "p b n"], Float[Array, "p b"], Int[Array, "p b"], Int[Array, "p b"]]:
    """Runs all prompts to their ends, at most `room` tokens; `ends` counts the end-of-sequence tokens.

    In every lane of the layout by itself: what follows `next_state` lies side by side for all of them.

    Returns tokens, scores, how many tokens they are, and the states of the stop table they ended in.
    """

    def in_lane(*arguments: Any) -> tuple[Array, ...]:
        found = _search_lane(graphdef, layout, *arguments, room=room, beams=beams, ends=ends)
        return found.done_tokens, found.done_scores, found.done_count, found.done_state

    return in_lanes(layout, in_lane, shared=4)(
        params, prefix, prefix_length, next_state, prompt_cache, prompt_logits, prompt_lengths, limits
    )


def _search_lane(
    graphdef: nnx.GraphDef[Llama],
    layout: Layout | None,
    params: nnx.State,
    prefix: Cache,
    prefix_length: Int[Array, ""],
    next_state: Int[Array, "states v"],
    prompt_cache: Cache,
    prompt_logits: Float[Array, "p v"],
    prompt_lengths: Int[Array, " p"],
    limits: Int[Array, " p"],
    *,
    room: int,
    beams: int,
    ends: int,
) -> Beams:
    """`search` in one lane."""
    p = len(prompt_lengths)
    config = nnx.merge(graphdef, params).config
    keep = max(2, 1 + ends) * beams
    first = jnp.zeros((p, beams), jnp.float32).at[:, 1:].set(WORST)  # all beams begin as one
    start = Beams(
        cache=empty_cache(config, p * beams, room, prompt_cache[0][0].dtype),
        tokens=jnp.zeros((p, beams, room), jnp.int32),
        scores=first,
        state=jnp.zeros((p, beams), jnp.int32),
        done_tokens=jnp.zeros((p, beams, room), jnp.int32),
        done_scores=jnp.full((p, beams), WORST, jnp.float32),
        done_count=jnp.zeros((p, beams), jnp.int32),
        done_state=jnp.zeros((p, beams), jnp.int32),
        finished=jnp.zeros((p, beams), jnp.bool_),
        improving=jnp.ones(p, jnp.bool_),
        step=jnp.int32(0),
    )
    spread = jnp.broadcast_to(prompt_logits[:, None], (p, beams, prompt_logits.shape[-1]))
    state = _advance(start, spread, next_state, limits, keep)

    def step(state: Beams) -> Beams:
        model = nnx.merge(graphdef, params)
        attention = _BeamAttention(prefix, prefix_length, prompt_cache, prompt_lengths, state)
        last = jax.lax.dynamic_index_in_dim(state.tokens, state.step - 1, axis=2, keepdims=False)
        positions = jnp.broadcast_to((prefix_length + prompt_lengths + state.step - 1)[:, None], last.shape)
        hidden = model(last, positions, attention)
        state = dataclasses.replace(state, cache=tuple(attention.cache))
        return _advance(state, model.logits(hidden), next_state, limits, keep)

    def going_on(state: Beams) -> Array:
        return in_step(layout, jnp.any(state.improving).astype(jnp.int32)) > 0

    return jax.lax.while_loop(going_on, step, state)


class _BeamAttention:
    """One new token a beam. The beams of a prompt read its keys and values as one matrix product."""

    def __init__(
        self, prefix: Cache, prefix_length: Array, prompt_cache: Cache, prompt_lengths: Array, beams: Beams
    ) -> None:
        self.prefix, self.prefix_length, self.prompt_cache = prefix, prefix_length, prompt_cache
        room = prompt_cache[0][0].shape[-1]
        self.prompt_mask = (jnp.arange(room) < prompt_lengths[:, None])[:, None]
        self.beams = beams
        self.cache: list[LayerCache] = []

    def __call__(
        self,
        layer: int,
        q: Float[Array, "p b h c"],
        k: Float[Array, "p b g c"],
        v: Float[Array, "p b g c"],
        /,
    ) -> Float[Array, "p b h c"]:
        p, b, g, c = k.shape
        keys, values = self.beams.cache[layer]
        at = self.beams.step - 1
        keys = jax.lax.dynamic_update_slice(keys, k.reshape(p * b, g, c, 1), (0, 0, 0, at))
        values = jax.lax.dynamic_update_slice(values, v.reshape(p * b, g, 1, c), (0, 0, at, 0))
        self.cache.append((keys, values))
        room = keys.shape[-1]
        # A beam sees only its own new tokens: beams lie in time, side by side, behind a diagonal mask.
        own_keys = keys.reshape(p, b, g, c, room).transpose(0, 2, 3, 1, 4).reshape(p, g, c, b * room)
        own_values = values.reshape(p, b, g, room, c).swapaxes(1, 2).reshape(p, g, b * room, c)
        own = jnp.eye(b, dtype=jnp.bool_)[:, :, None] & (jnp.arange(room) < self.beams.step)
        places = [
            *seen_of_prefix(self.prefix, layer, self.prefix_length),
            Seen(*self.prompt_cache[layer], self.prompt_mask),
            Seen(own_keys, own_values, own.reshape(1, b, b * room)),
        ]
        return attend(q, places)


def _advance(
    beams: Beams, logits: Float[Array, "p b v"], next_state: Array, limits: Int[Array, " p"], keep: int
) -> Beams:
    """Appends one token to the running beams and files those that ended."""
    p, b, v = logits.shape
    totals = jax.nn.log_softmax(logits, axis=-1) + beams.scores[:, :, None]
    top, flat = jax.lax.top_k(totals.reshape(p, b * v), keep)
    parent, token = flat // v, (flat % v).astype(jnp.int32)
    rows = jnp.arange(p)[:, None]
    tokens = jax.lax.dynamic_update_slice(beams.tokens[rows, parent], token[..., None], (0, 0, beams.step))
    state = next_state[beams.state[rows, parent], token].astype(jnp.int32)
    length = beams.step + 1
    ended = (state >= len(next_state) - 2) | (length >= limits)[:, None]

    finished = _file(beams, tokens, top, state, ended, length)
    running, chosen = jax.lax.top_k(jnp.where(ended, top + WORST, top), b)
    lineage = (rows * b + parent[rows, chosen]).reshape(-1)
    worst = jnp.where(finished.finished, finished.done_scores.min(axis=1, keepdims=True), WORST)
    improving = beams.improving & ((running[:, :1] / length) > worst).any(axis=1) & ~ended.all(axis=1)
    return dataclasses.replace(
        finished,
        cache=jax.tree.map(lambda x: x[lineage], beams.cache),
        tokens=tokens[rows, chosen],
        scores=running,
        state=state[rows, chosen],
        improving=improving,
        step=length,
    )


def _file(
    beams: Beams, tokens: Array, top: Array, state: Array, ended: Bool[Array, "p k"], length: Int[Array, ""]
) -> Beams:
    """Keeps the best of the finished beams and those of the first `b` continuations that just ended."""
    p, b = beams.done_scores.shape
    counts = ended & (jnp.arange(top.shape[1]) < b) & beams.improving[:, None]
    scores = jnp.where(counts, top / length, WORST)
    merged_scores = jnp.concatenate([beams.done_scores, scores], axis=1)
    best_scores, best = jax.lax.top_k(merged_scores, b)
    rows = jnp.arange(p)[:, None]

    def merge(old: Array, new: Array) -> Array:
        return jnp.concatenate([old, new], axis=1)[rows, best]

    return dataclasses.replace(
        beams,
        done_tokens=merge(beams.done_tokens, tokens),
        done_scores=best_scores,
        done_count=merge(beams.done_count, jnp.broadcast_to(length, top.shape)),
        done_state=merge(beams.done_state, state),
        finished=merge(beams.finished, counts),
    )
