"""What a published data set is to its reader, and reading the columns of one row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class RowError(ValueError):
    """What is wrong with a row; the reader adds where."""


class Fields(NamedTuple):
    """What a row says of its task."""

    question: str
    answer: str | int | float
    meta: dict[str, Any]
    context: str = ""


def row_id(columns: Mapping[str, Any], default: str) -> str:
    """The id that a row has, or the default."""
    column = "id" if "id" in columns else "ID"
    value = columns.get(column, default)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise RowError(f"id must be text or a whole number, is {value!r}")
    return _whole_characters(str(value), column)


def text_in(columns: Mapping[str, Any], column: str) -> str:
    """The text in a column, which must not be empty."""
    value = columns.get(column)
    if not isinstance(value, str) or not value.strip():
        found = (
            f"is {value!r}" if column in columns else f"is missing (there are {', '.join(columns) or 'none'})"
        )
        raise RowError(f"column {column!r} must be text, {found}")
    return _whole_characters(value, column).strip()


def _whole_characters(text: str, column: str) -> str:
    """The text itself. Raises RowError for half of a surrogate pair, which no file and no hash can take."""
    lone = next((character for character in text if "\ud800" <= character <= "\udfff"), None)
    if lone is not None:
        raise RowError(f"column {column!r} has half a character, U+{ord(lone):04X}, which is no text")
    return text


def answer_in(columns: Mapping[str, Any], column: str = "answer") -> Any:
    """What is in the column of the answer."""
    if columns.get(column) is None:
        found = "is null" if column in columns else f"is missing (there are {', '.join(columns) or 'none'})"
        raise RowError(f"column {column!r} {found}")
    return columns[column]


@dataclass(frozen=True)
class RealSet:
    """One published data set.

    hub_splits: what the hub calls its parts, in id order.
    has_train: whether those are "train" and "test" to the paper too; on the others it only tests.
    read: (columns, compat) → fields of a task; None for a row that is not of the subset the paper uses.
    paper_counts: split → how many tasks the paper has.
    id_format: of rows without an id, from split and row number.
    identify: (columns, default) → the row's id.
    """

    hub_id: str
    configs: tuple[str, ...]
    hub_splits: tuple[str, ...]
    read: Callable[[Mapping[str, Any], str], Fields | None]
    paper_counts: Mapping[str, int]
    id_format: str
    has_train: bool = False
    subset: str = "all rows"
    identify: Callable[[Mapping[str, Any], str], str] = row_id
