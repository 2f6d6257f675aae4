"""Answers of programs against right answers: the tolerance of docs/environments.md, and when a text needs
real mathematics.

Everything here is quick and bounded, so that the parent can run it; `quick_compare` says None where only
SymPy can tell, and the environment then asks a sandboxed judge (`envs.sandbox.judge`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

_ABSOLUTE = Fraction(1, 10_000)
_LARGE = 100  # from here on relative: 1e-6 of the answer
_DIGITS_LIMIT = 4000
_JSON_INTEGER = 1 << 63
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", re.ASCII)
_RATIO = re.compile(r"([+-]?\d+)\s*/\s*(\d+)", re.ASCII)
_LATEX_RATIO = re.compile(r"([+-]?)\\[dt]?frac\{([+-]?\d+)\}\{(\d+)\}", re.ASCII)
_WRAPPER = re.compile(r"\\(?:text|mathrm|textbf|mbox)\{([^{}]*)\}")
_MATHEMATICAL = re.compile(r"[\d\\]")


@dataclass(frozen=True)
class Answer:
    """What a program answered: `number` if it is a real number, and `text` as one would write it."""

    text: str
    number: Fraction | None = None

    @property
    def value(self) -> str | int | float:
        """JSON-able: int or float where that loses nothing a reader would miss, else text."""
        if self.number is None:
            return self.text
        if self.number.denominator == 1 and _is_integer_text(self.text):
            return int(self.number) if abs(self.number) < _JSON_INTEGER else self.text
        try:
            return float(self.number)
        except OverflowError:
            return self.text


def _is_integer_text(text: str) -> bool:
    return text.lstrip("+-").isdigit()


def close(value: Fraction, answer: Fraction) -> bool:
    """|a - y| <= 1e-4, or relative 1e-6 where |y| > 100. Exact, so that the bound itself still counts."""
    allowed = _ABSOLUTE if abs(answer) <= _LARGE else abs(answer) / 1_000_000
    return abs(value - answer) <= allowed


def number_of(value: str | int | float) -> Fraction | None:
    """The real number that `value` plainly is: 3, "3.5", "1,234", "-1/2", "\\frac{1}{2}", "$5$"; else None.

    "17,44" is not a number (the released code read 1744), nor is True.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Fraction(value)
    if isinstance(value, float):
        return Fraction(repr(value)) if value - value == 0 else None
    text = value.strip().strip("$").strip().replace("\\!", "").replace("−", "-")
    if len(text) > _DIGITS_LIMIT:
        return None
    if _NUMBER.fullmatch(text):
        return Fraction(text)
    if _GROUPED.fullmatch(text):
        return Fraction(text.replace(",", ""))
    if match := _RATIO.fullmatch(text):
        sign, numerator, denominator = "", *match.groups()
    elif match := _LATEX_RATIO.fullmatch(text):
        sign, numerator, denominator = match.groups()
    else:
        return None
    if int(denominator) == 0:
        return None
    return Fraction(int(numerator), int(denominator)) * (-1 if sign == "-" else 1)


def decode_answer(code: Any) -> Answer | None:
    """The answer a child wrote (see `envs.sandbox.program.encode`); None if it is not of that form: it
    may lie.
    """
    if not isinstance(code, Mapping) or not isinstance(code.get("text"), str):
        return None
    kind, text = code.get("kind"), code["text"]
    try:
        if kind == "int":
            number = Fraction(int(text, 16))
            return Answer(_decimal_text(int(number)), number)
        if kind == "ratio":
            numerator, _, denominator = text.partition("/")
            number = Fraction(int(numerator, 16), int(denominator, 16))
            return Answer(f"{_decimal_text(number.numerator)}/{_decimal_text(number.denominator)}", number)
        if kind == "float":
            return Answer(text, number_of(float(text)))
        if kind == "text":
            real = code.get("number")
            return Answer(text, number_of(text) if real is None else number_of(float(real)))
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        return None
    return None


def _decimal_text(number: int) -> str:
    """Decimal digits, unless there are more than Python agrees to write."""
    return str(number) if number.bit_length() < 3 * _DIGITS_LIMIT else hex(number)


def quick_compare(value: Answer, answer: str | int | float) -> bool | None:
    """Whether `value` is `answer`; None if only mathematics can tell (LaTeX on either side)."""
    right = number_of(answer)
    if value.number is not None and right is not None:
        return close(value.number, right)
    written = str(answer)
    if _plain_text(value.text) == _plain_text(written):
        return True
    if right is not None:
        # Nothing but a formula can still be the number: "\sqrt{4}", not "blue", "nan" or "[4]".
        return None if "\\" in value.text and value.number is None else False
    if _MATHEMATICAL.search(written) and (value.number is not None or _MATHEMATICAL.search(value.text)):
        return None
    return False


def _plain_text(text: str) -> str:
    """Without dollar signs, \\text{}, spaces and case."""
    text = _WRAPPER.sub(r"\1", text.strip().strip("$"))
    return "".join(text.split()).rstrip(".").lower()
