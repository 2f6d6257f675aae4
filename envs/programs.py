"""How programs are found in what a model writes, the same in every environment."""

import re

_FENCE = re.compile(r"```[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)


def extract_program(text: str) -> str:
    """The body of the first fenced block (also one that never closes), else the whole text; stripped."""
    match = _FENCE.search(text)
    return (match.group(1) if match else text).strip()
