"""Where the program ends in what a model writes, by the layout of a prompt style. Total: any text has one."""

from collections.abc import Callable, Mapping
from itertools import dropwhile, takewhile
from typing import Literal

Extent = Literal["line", "paragraph", "query", "block"]


def canonical_text(program: str) -> str:
    """Line ends as \\n, no white space at line ends or around the whole.

    What is run, stored and trained on is this text, so a program means what it means (white space at the end
    of a line counts within a string of several lines).
    """
    lines = program.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()


def first_line(text: str) -> str:
    """What a generation that stops at a newline holds: nothing, if the newline comes first."""
    lines = text.splitlines()
    return lines[0].strip() if lines else ""


def first_block(text: str) -> str:
    """The text up to the first fence, without blank lines and fences before it."""
    lines = canonical_text(text).split("\n")
    inside = list(dropwhile(lambda line: not line.strip() or _is_fence(line), lines))
    return canonical_text("\n".join(takewhile(lambda line: not _is_fence(line), inside)))


def first_paragraph(text: str) -> str:
    """The first block up to a blank line, or one of markup: small models go on with a page of their own."""
    lines = first_block(text).split("\n")
    return "\n".join(takewhile(lambda line: line and not line.startswith("<"), lines))


def first_query(text: str) -> str:
    """The first block up to a blank line or the line after `Query:`, which ends a logic program."""
    lines = list(takewhile(bool, first_block(text).split("\n")))
    codes = [line.partition(":::")[0].strip() for line in lines]
    query = codes.index("Query:") if "Query:" in codes else len(lines)
    return "\n".join(lines[: query + 2])


def _is_fence(line: str) -> bool:
    return line.lstrip().startswith("```")


EXTENTS: Mapping[Extent, Callable[[str], str]] = {
    "line": first_line,
    "paragraph": first_paragraph,
    "query": first_query,
    "block": first_block,
}
