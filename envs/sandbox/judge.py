"""Whether two mathematical texts mean the same, by math-verify and SymPy, in a sandboxed child of a zygote
of its own.

A text such as `10^{10^8}` can keep SymPy busy for hours, so the comparison has the time and memory limits
of a program. Programs never run in this zygote's children: it knows the right answers.
"""

import json
import logging
import math
from fractions import Fraction
from typing import Any

from envs.answers import close

PRELOAD = ("sympy", "math_verify")


def run(payload: dict[str, Any]) -> bytes:
    """`payload`: {"value": text, "number": "p/q" or None, "answer": text}; the line says {"equal": bool}."""
    number = None if payload["number"] is None else Fraction(payload["number"])
    equal = same_mathematics(payload["value"], number, payload["answer"])
    return (json.dumps({"equal": equal}) + "\n").encode("ascii")


def warm_up() -> None:
    """Loads the LaTeX grammar before the first comparison."""
    # It warns that its own time limit is off; the sandbox has one.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    if not same_mathematics("\\frac{\\sqrt{4}}{4}", None, "0.5"):
        raise RuntimeError("math-verify does not find that sqrt(4)/4 is 0.5")


def same_mathematics(value: str, number: Fraction | None, answer: str) -> bool:
    """Equal as numbers within the tolerance of `envs.answers`, or equal to math-verify; unreadable text is
    not.

    `number` is what `value` is worth if that is known already.
    """
    right = _parse(answer)
    if not right:
        return False
    right_number = _number(right[0])
    if number is not None and right_number is not None:
        return close(number, right_number)
    given = _parse(value)
    if not given:
        return False
    given_number = _number(given[0])
    if given_number is not None and right_number is not None:
        return close(given_number, right_number)
    from math_verify import verify

    return bool(verify(right, given, float_rounding=6, timeout_seconds=None))


def _parse(text: str) -> list[Any]:
    """What math-verify makes of LaTeX. Its plain-expression reader evaluates Python and is not used."""
    from math_verify import LatexExtractionConfig, parse

    latex = f"${text.strip().strip('$')}$"
    parsed: list[Any] = parse(latex, extraction_config=[LatexExtractionConfig()], parsing_timeout=None)
    return parsed


def _number(expression: Any) -> Fraction | None:
    """A real constant, rationals exactly; else None. One beyond a float's range is left to math-verify."""
    import sympy

    if not isinstance(expression, sympy.Expr) or not expression.is_number or not expression.is_finite:
        return None
    if isinstance(expression, sympy.Rational):
        return Fraction(int(expression.p), int(expression.q))
    number = complex(expression.evalf())
    is_real = math.isfinite(number.real) and abs(number.imag) <= 1e-12 * abs(number.real)
    return Fraction(repr(number.real)) if is_real else None
