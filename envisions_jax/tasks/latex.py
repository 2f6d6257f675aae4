r"""Right answers for MATH: LaTeX → exact rational number, and the authors' faulty rule for comparison.

The paper trains on the "numeric subset": problems whose gold answer is one rational number. The labels
published with it were made by a rule that drops signs and roots (`reference_label`); `to_rational` reads the
number that is really there, or says that there is none.
"""

import math
import re
from fractions import Fraction

_MAX_LENGTH = 400
# Numbers beyond the range of a float are no answers, and powers of powers must not fill the memory.
_MAX_BITS = 1000

# What a number may wear without being another number: spaces, brackets' sizes, dollars, degrees, percent
# signs. 64\% is 64 and 90^\circ is 90, as the problems mean it ("what percent", "how many degrees").
_DECORATION = re.compile(
    r"\\[!,;:> ]|\\(?:left|right|quad|displaystyle)(?![a-zA-Z])"
    r"|\^\{?\s*\\circ\s*\}?|\\(?:degree|%|\$)|[$~%°\s]"
)
_UNIT = re.compile(r"\\(?:text|mbox|mathrm|textrm|textbf)\s*\{([^{}]*)\}(?:\^(?:\{[0-9]\}|[0-9]))?$")
_NAME = re.compile(r"^(?:[a-zA-Z]|\\(?:alpha|beta|theta|lambda))=")
_TOKEN = re.compile(
    r"(?P<number>[0-9]+(?:(?:,|\{,\})[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
    r"|(?P<repeating>\\overline\{[0-9]+\})"
    r"|(?P<fraction>\\[dtc]?frac)"
    r"|(?P<times>\\cdot|\\times|\*)"
    r"|(?P<sign>[-+/^(){}])"
)


def boxed_answer(solution: str) -> str | None:
    r"""What is in the last \boxed{…} of a solution, braces matched ("\boxed 5" too); None without one."""
    start = max(solution.rfind("\\boxed"), solution.rfind("\\fbox"))
    if start < 0:
        return None
    rest = solution[start:].removeprefix("\\boxed").removeprefix("\\fbox")
    if not rest.startswith("{"):
        word = re.match(r"\s*([^\s$.]+)", rest)
        return word.group(1) if word else None
    depth = 0
    for index, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[1:index].strip()
    return None


def to_rational(latex: str) -> Fraction | None:
    r"""The exact value of a LaTeX answer that is one rational number, else None. Never raises.

    -\frac{1}{2}, \tfrac34, 2\frac{1}{2} (mixed), 33,\!800, 0.1\overline{6}, 2^{10}, 90^\circ, 64\%,
    5\text{ cm}^2 and x=4 are numbers; 17,44 (a list), \frac{\sqrt{3}}{2}, 43_5, 3:1 and (1,2) are not.
    """
    text = _DECORATION.sub("", latex).rstrip(".")
    if not text or len(text) > _MAX_LENGTH:
        return None
    unit = _UNIT.search(latex.strip().rstrip("."))
    if unit and not any(character.isdigit() for character in unit.group(1)):
        text = _DECORATION.sub("", latex.strip().rstrip(".")[: unit.start()])
    tokens = _tokens(_NAME.sub("", text))
    if tokens is None:
        return None
    parser = _Parser(tokens)
    try:
        value = parser.sum()
    except (_NotANumberError, ZeroDivisionError):
        return None
    return value if parser.at_end and _bits(value) <= _MAX_BITS else None


def to_number(value: Fraction) -> int | float:
    """An int where the value is one, else the nearest float."""
    return value.numerator if value.denominator == 1 else float(value)


def reference_label(latex: str) -> float | None:
    r"""The label the authors' data has for an answer; None if the problem was left out. Known to be wrong.

    Recovered from the published labels. Thousands separators are removed and Python's `float` tried; failing
    that, a fraction with exactly two whole numbers in braces anywhere is taken for their quotient. So
    -\frac{1}{2} becomes 0.5, \frac{\sqrt{51}}{7} becomes 51/7, 17,44 becomes 1744, 43_5 becomes 435, and
    \frac{-7}{23} is left out.
    """
    try:
        value = float(latex.replace("\\!", "").replace(",", ""))
    except ValueError:
        pass
    else:
        return value if math.isfinite(value) else None
    braced = re.findall(r"\{([0-9]+)\}", latex)
    if "frac" not in latex or len(braced) != 2 or int(braced[1]) == 0:
        return None
    return int(braced[0]) / int(braced[1])


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


class _NotANumberError(Exception):
    """The tokens do not form one number."""


def _tokens(text: str) -> list[str] | None:
    """The text cut into tokens; None if there is anything that no number contains."""
    tokens = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        tokens.append(match.group())
        position = match.end()
    return tokens


class _Parser:
    """Recursive descent over the tokens: sum → product → power → atom. Exact, and bounded by _MAX_LENGTH."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._next = 0

    @property
    def at_end(self) -> bool:
        return self._next == len(self._tokens)

    @property
    def _token(self) -> str:
        return "" if self.at_end else self._tokens[self._next]

    def _take(self, *wanted: str) -> bool:
        if self._token and self._token in wanted:
            self._next += 1
            return True
        return False

    def _demand(self, wanted: str) -> None:
        if not self._take(wanted):
            raise _NotANumberError(f"{wanted} expected, found {self._token!r}")

    def sum(self) -> Fraction:
        negative = self._take("-")
        if not negative:
            self._take("+")
        value = self._product()
        value = -value if negative else value
        while self._token in ("+", "-"):
            sign = -1 if self._take("-") else 1
            self._take("+")
            value += sign * self._product()
        return value

    def _product(self) -> Fraction:
        value = self._power()
        while True:
            if self._take("\\cdot", "\\times", "*"):
                value *= self._power()
            elif self._take("/"):
                value /= self._power()
            else:
                return value

    def _power(self) -> Fraction:
        base = self._atom()
        if not self._take("^"):
            return base
        exponent = self._group() if self._token == "{" else self._digit()
        if exponent.denominator != 1 or abs(exponent) * _bits(base) > _MAX_BITS:
            raise _NotANumberError(f"exponent {exponent}")
        return base ** int(exponent)

    def _atom(self) -> Fraction:
        if self._token == "(":
            return self._group("(", ")")
        if self._token == "{":
            return self._group()
        if self._token.endswith("frac"):
            return self._fraction()
        whole = self._decimal()
        # 2\frac{1}{2}: a whole number directly before a fraction is a mixed number, as MATH writes it.
        if self._token.endswith("frac") and whole.denominator == 1:
            return whole + self._fraction()
        return whole

    def _group(self, opening: str = "{", closing: str = "}") -> Fraction:
        self._demand(opening)
        value = self.sum()
        self._demand(closing)
        return value

    def _fraction(self) -> Fraction:
        self._next += 1
        numerator = self._group() if self._token == "{" else self._digit()
        denominator = self._group() if self._token == "{" else self._digit()
        return numerator / denominator

    def _digit(self) -> Fraction:
        r"""One digit, as TeX reads an argument without braces: \frac34 is 3/4, 2^10 is 2^1 and then a 0."""
        token = self._token
        if not token[:1].isdigit():
            raise _NotANumberError(f"digit expected, found {token!r}")
        if len(token) == 1:
            self._next += 1
        else:
            self._tokens[self._next] = token[1:]
        return Fraction(int(token[0]))

    def _decimal(self) -> Fraction:
        token = self._token
        if not token[:1].isdigit() and not token.startswith("."):
            raise _NotANumberError(f"number expected, found {token!r}")
        self._next += 1
        digits = token.replace("{,}", "").replace(",", "")
        value = Fraction(digits if digits[-1] != "." else digits[:-1])
        if self._token.startswith("\\overline"):
            if "." not in digits:
                raise _NotANumberError("a repeating part belongs behind a decimal point")
            repeating = self._token.removeprefix("\\overline{").removesuffix("}")
            self._next += 1
            places = len(digits.partition(".")[2])
            value += Fraction(int(repeating), (10 ** len(repeating) - 1) * 10**places)
        return value
