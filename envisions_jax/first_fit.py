"""First-fit decreasing: which pieces share a row, so that little of it is padding."""

from collections.abc import Sequence


def first_fit_decreasing(sizes: Sequence[int], lengths: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Largest first, each into the first row with room for it, else into a new row as short as possible.

    Args:
        sizes: of the pieces.
        lengths: that a row may have, shortest first.

    Returns:
        For each row its length and the indices of its pieces.

    Raises:
        ValueError: a piece is larger than the longest row.

    >>> first_fit_decreasing([3, 9, 4, 1], [8, 16])
    [(16, [1, 2, 0]), (8, [3])]
    """
    rows: list[tuple[int, list[int]]] = []
    room: list[int] = []
    for piece in sorted(range(len(sizes)), key=lambda piece: -sizes[piece]):
        size = sizes[piece]
        chosen = next((row for row, free in enumerate(room) if free >= size), None)
        if chosen is None:
            length = next((length for length in lengths if length >= size), None)
            if length is None:
                raise ValueError(f"a piece of {size} does not fit into rows of at most {lengths[-1]}")
            chosen = len(rows)
            rows.append((length, []))
            room.append(length)
        rows[chosen][1].append(piece)
        room[chosen] -= size
    return rows
