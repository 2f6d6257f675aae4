"""The stop table against a search in the text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from envisions_jax.sampling.stopping import build_stop_table, cut_at_stop

TOKENS = [b"", b"a", b"b", b"ab", b"ba", b"aab", b"c", b"\n", b"\n\n", "é".encode()[:1], "é".encode()[1:]]
EOS = 0
STOPS = st.lists(st.sampled_from(["ab", "aab", "bb", "\n\n", "aba", "é", "b\n"]), max_size=3, unique=True)


def first_end(tokens: list[int], stop: list[str]) -> int | None:
    """How many tokens until a stop string stands in their text, found the slow way."""
    for end in range(1, len(tokens) + 1):
        text = b"".join(TOKENS[token] for token in tokens[:end])
        if any(pattern.encode() in text for pattern in stop):
            return end
    return None


@given(STOPS, st.lists(st.integers(1, len(TOKENS) - 1), max_size=12))
def test_stops_at_the_token_that_completes_a_stop_string(stop: list[str], tokens: list[int]) -> None:
    table = build_stop_table(TOKENS, tuple(stop), [EOS], len(TOKENS) + 2)
    state, end = 0, None
    for number, token in enumerate(tokens, start=1):
        state = int(table.next_state[state, token])
        if table.reason(state) == "stop":
            end = number
            break
    assert end == first_end(tokens, stop)


def test_end_of_sequence_ends_in_every_state_and_stays() -> None:
    table = build_stop_table(TOKENS, ("ab",), [EOS], len(TOKENS))
    assert table.reason(int(table.next_state[1, EOS])) == "eos"
    assert all(table.next_state[table.ended] == table.ended)
    assert table.reason(0) == "length"


def test_a_padding_token_of_the_embedding_is_no_text() -> None:
    table = build_stop_table(TOKENS, ("ab",), [EOS], len(TOKENS) + 3)
    assert table.next_state[1, -1] == 0


def test_text_is_cut_at_the_first_stop_string() -> None:
    assert cut_at_stop("x = 1\n\ny", ["y", "\n"]) == "x = 1"
    assert cut_at_stop("x = 1", ["\n"]) == "x = 1"
