"""How programs are found in what a model writes, the same in every environment."""

_FENCE = "```"


def extract_program(text: str) -> str:
    """The body of the first fenced block (also one that never closes), else the whole text; stripped.

    A block begins with a line that begins with the fence, and ends with a fence at either end of a line.
    """
    # Not by a regular expression, which takes quadratic time on ten million backticks.
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if line.lstrip().startswith(_FENCE)), len(lines))
    body: list[str] = []
    for line in lines[first + 1 :]:
        if line.lstrip().startswith(_FENCE):
            break
        if line.rstrip().endswith(_FENCE):
            body.append(line.rstrip().removesuffix(_FENCE))
            break
        body.append(line)
    return ("\n".join(body) if first + 1 < len(lines) else text).strip()
