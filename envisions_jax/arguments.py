"""Checks of what is handed to the public API: what was wrong, what was given, what to do."""

import jax
import jax.numpy as jnp
import numpy as np


def check(holds: bool, key: str, value: object, advice: str) -> None:
    """Raise ValueError, which says what was given for `key` and what to do, unless it holds."""
    if not holds:
        raise ValueError(
            f"{key}: got {value!r}; {advice}"
            if not isinstance(value, str)
            else f"{key}: got {value}; {advice}"
        )


def checked_text(text: str) -> str:
    """The text, which must be one that can be written down. Raises ValueError."""
    lone = next((sign for sign in text if "\ud800" <= sign <= "\udfff"), None)
    check(
        lone is None, "text", repr(lone), "half a surrogate pair is no text: decode it with errors='replace'"
    )
    return text


def is_whole(value: object) -> bool:
    """Is it a whole number, of Python's or in an array without dimensions?"""
    if type(value) is int:  # nearly always
        return True
    if isinstance(value, (np.ndarray, jax.Array)):  # as an array of tokens holds, without a dimension
        return bool(jnp.issubdtype(value.dtype, jnp.integer))
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Is it a number, of Python's or NumPy's?"""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def check_count(key: str, value: object, advice: str) -> None:
    """Raise ValueError unless it is a whole number from 1."""
    check(is_whole(value) and value >= 1, key, value, f"{advice}, a whole number")  # type: ignore[operator]
