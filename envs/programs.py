"""How programs are found in what a model writes, the same in every environment."""

_FENCE = "```"


def extract_program(text: str) -> str:
    """The body of the first fenced block (also one that never closes), else the whole text; stripped."""
    # Not by a regular expression, which takes quadratic time on ten million backticks.
    fence = text.find(_FENCE)
    start = text.find("\n", fence) if fence >= 0 else -1
    if start < 0:
        return text.strip()
    end = text.find(_FENCE, start)
    return text[start : end if end >= 0 else None].strip()
