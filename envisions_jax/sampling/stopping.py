"""Stop strings as an automaton over tokens, so that the device itself sees where a candidate ends.

A stop string may begin in one token and end in another, or lie in the middle of a token. The
Aho-Corasick automaton of the stop strings is run over the bytes of every token of the vocabulary
once; the result is a table ``next_state[state, token]`` that the decode loop looks up.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from envisions_jax.sampling.results import FinishReason

START = 0
ROWS = 16  # states are padded to a multiple of this, so that other stop strings need no other program


@dataclasses.dataclass(frozen=True, eq=False)
class StopTable:
    """``next_state[state, token]``; the last two states are the accepting ones, and stay.

    For the stop string "ab" over tokens ``a, b, ab, <eos>`` the states are 0 (nothing seen) and 1
    ("a" seen); 14 and 15 accept by stop string and by end of sequence::

        state 0: a → 1,  b → 0,   ab → 14,  <eos> → 15
        state 1: a → 1,  b → 14,  ab → 14,  <eos> → 15
    """

    next_state: np.ndarray  # int16 [states, v]

    @property
    def stopped(self) -> int:
        return len(self.next_state) - 2

    @property
    def ended(self) -> int:
        return len(self.next_state) - 1

    def reason(self, state: int) -> FinishReason:
        if state == self.ended:
            return "eos"
        return "stop" if state == self.stopped else "length"


def build_stop_table(
    token_bytes: Sequence[bytes], stop: tuple[str, ...], eos_ids: Sequence[int], vocab_size: int
) -> StopTable:
    """The table for `stop` strings and end-of-sequence tokens.

    Args:
      token_bytes: of each token id; shorter than `vocab_size` where the embedding is padded.
    """
    patterns = [text.encode() for text in stop]
    moves = _byte_moves(patterns)
    states = -(-(len(moves) + 2) // ROWS) * ROWS
    stopped, ended = states - 2, states - 1
    table = np.zeros((states, vocab_size), np.int16)
    alphabet = frozenset(b"".join(patterns))
    relevant = [token for token, text in enumerate(token_bytes) if alphabet.intersection(text)]
    for state in range(len(moves)):
        for token in relevant:
            table[state, token] = _walk(moves, state, token_bytes[token], stopped)
    # A token without text (specials) leaves the state; an unknown one is no part of any stop string.
    silent = [token for token, text in enumerate(token_bytes) if not text]
    for state in range(len(moves)):
        table[state, silent] = state
    table[:, list(eos_ids)] = ended
    table[stopped, :], table[ended, :] = stopped, ended
    return StopTable(table)


def _walk(moves: list[dict[int, int]], state: int, text: bytes, stopped: int) -> int:
    for byte in text:
        state = moves[state].get(byte, START)
        if state < 0:
            return stopped
    return state


def _byte_moves(patterns: list[bytes]) -> list[dict[int, int]]:
    """Aho-Corasick: state → byte → state; −1 accepts. A state is a proper prefix of some pattern."""
    prefixes = sorted({pattern[:n] for pattern in patterns for n in range(len(pattern))} | {b""}, key=len)
    number = {prefix: n for n, prefix in enumerate(prefixes)}
    moves: list[dict[int, int]] = []
    for prefix in prefixes:
        step = functools.partial(_step, number=number, patterns=patterns)
        moves.append({byte: step(prefix + bytes([byte])) for byte in set(b"".join(patterns))})
    return moves


def _step(seen: bytes, *, number: dict[bytes, int], patterns: list[bytes]) -> int:
    if any(seen.endswith(pattern) for pattern in patterns):
        return -1
    return next(number[seen[n:]] for n in range(len(seen) + 1) if seen[n:] in number)


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """`text` up to the first stop string in it."""
    ends = [at for at in (text.find(pattern) for pattern in stop) if at >= 0]
    return text[: min(ends)] if ends else text
