"""Which answers count as right: tolerance, forms of numbers, LaTeX, and texts that are no numbers."""

import time
from fractions import Fraction

import pytest

from envs.answers import Answer, close, decode_answer, number_of, quick_compare
from envs.python import PythonEnvironment
from tests.envs.conftest import run


@pytest.mark.parametrize(
    ("value", "answer", "right"),
    [
        (3, 3, True),
        (3.0001, 3, True),
        (3.00011, 3, False),
        (0, 0, True),
        (0.0, 0, True),
        (0.0001, 0, True),
        (0.00011, 0, False),
        (-5, 5, False),
        (1e6 + 1, 1e6, True),
        (1e6 + 1.1, 1e6, False),
        (100.0001, 100, True),
        (100.0002, 100, False),
        (0.3333, Fraction(1, 3), True),
        (10**30 + 10**24, 10**30, True),
        (10**30 + 2 * 10**24, 10**30, False),
    ],
)
def test_tolerance(value: float, answer: float | Fraction, right: bool) -> None:
    given = value if isinstance(value, int) else Fraction(repr(value))
    wanted = Fraction(repr(answer)) if isinstance(answer, float) else Fraction(answer)
    assert close(Fraction(given), wanted) is right


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("42", 42),
        (" -3.50 ", Fraction(-7, 2)),
        ("1,234,567.5", Fraction(2469135, 2)),
        ("$5$", 5),
        ("\\frac{1}{2}", Fraction(1, 2)),
        ("-\\frac{1}{2}", Fraction(-1, 2)),
        ("\\dfrac{3}{4}", Fraction(3, 4)),
        ("3/4", Fraction(3, 4)),
        ("1e3", 1000),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("−7", -7),
    ],
)
def test_number_texts(text: str, number: Fraction | int) -> None:
    assert number_of(text) == number


@pytest.mark.parametrize(
    "value",
    [
        "17,44",
        "1,23",
        "",
        "nan",
        "inf",
        "True",
        True,
        float("nan"),
        float("inf"),
        "1/0",
        "1_000",
        "5 apples",
        "٣",
    ],
)
def test_what_is_not_a_number(value: str | float | bool) -> None:
    assert number_of(value) is None


def test_an_endless_number_text_is_not_read() -> None:
    start = time.monotonic()
    assert number_of("9" * 10_000_000) is None
    assert number_of("1e" + "9" * 1000) is None
    assert time.monotonic() - start < 0.5


@pytest.mark.parametrize(
    "code",
    [
        None,
        3,
        [],
        {},
        {"kind": "int"},
        {"kind": "int", "text": "xyz"},
        {"kind": "ratio", "text": "1/0"},
        {"kind": "ratio", "text": "1"},
        {"kind": "float", "text": "much"},
        {"kind": "text", "text": "x", "number": []},
        {"kind": "verdict", "text": "correct"},
        {"kind": "text", "text": 5},
    ],
)
def test_malformed_answers_are_none(code: object) -> None:
    assert decode_answer(code) is None


def test_json_values_of_answers() -> None:
    assert decode_answer({"kind": "int", "text": "2a"}) == Answer("42", Fraction(42))
    assert Answer("42", Fraction(42)).value == 42
    assert type(Answer("42.0", Fraction(42)).value) is float
    assert Answer("1/2", Fraction(1, 2)).value == 0.5
    assert Answer(str(10**30), Fraction(10**30)).value == str(10**30)
    assert Answer("blue").value == "blue"


@pytest.mark.parametrize(
    ("text", "answer", "verdict"),
    [
        ("Evelyn", "\\text{Evelyn}", True),
        ("evelyn", "Evelyn", True),
        ("(1, 2)", "(1,2)", True),
        ("blue", 4, False),
        ("[4]", 4, False),
        ("nan", 4, False),
        ("True", 1, False),
        ("True", "True", True),
        ("\\sqrt{16}", 4, None),
        ("2", "\\sqrt{4}", None),
        ("Anna", "\\sqrt{4}", False),
    ],
)
def test_what_can_be_told_without_sympy(text: str, answer: str | int, verdict: bool | None) -> None:
    assert quick_compare(Answer(text, number_of(text)), answer) is verdict


_RETURNS: list[tuple[str, str | int | float, str]] = [
    ("42", 42, "correct"),
    ("42.00009", 42, "correct"),
    ("'42'", 42, "correct"),
    ("'1,042'", 1042, "correct"),
    ("True", 1, "wrong"),
    ("True", "True", "correct"),
    ("complex(42, 0)", 42, "correct"),
    ("complex(42, 1)", 42, "wrong"),
    ("float('nan')", 42, "wrong"),
    ("float('inf')", 42, "wrong"),
    ("fractions.Fraction(1, 2)", 0.5, "correct"),
    ("decimal.Decimal('0.5')", 0.5, "correct"),
    ("decimal.Decimal('NaN')", 0.5, "wrong"),
    ("decimal.Decimal('1e999999')", 0.5, "wrong"),
    ("numpy.float32(0.5)", 0.5, "correct"),
    ("numpy.int64(7)", 7, "correct"),
    ("numpy.array(7)", 7, "correct"),
    ("numpy.longdouble(0.5)", 0.5, "correct"),
    ("numpy.bool_(True)", 1, "wrong"),
    ("sympy.Rational(1, 2)", 0.5, "correct"),
    ("sympy.Integer(7)", 7, "correct"),
    ("sympy.Float('0.5')", 0.5, "correct"),
    ("sympy.sqrt(2)", 1.41421356, "correct"),
    ("sympy.pi", 3.14159265, "correct"),
    ("sympy.oo", 5, "wrong"),
    ("sympy.nan", 5, "wrong"),
    ("sympy.zoo", 5, "wrong"),
    ("sympy.I", 1, "wrong"),
    ("sympy.true", 1, "wrong"),
    ("sympy.Symbol('x')", 1, "wrong"),
    ("sympy.Symbol('x') + 1", "x+1", "correct"),
    ("sympy.sqrt(2) / 2", "\\frac{\\sqrt{2}}{2}", "correct"),
    ("sympy.sqrt(3) / 2", "\\frac{\\sqrt{2}}{2}", "wrong"),
    ("0.70710678", "\\frac{1}{\\sqrt{2}}", "correct"),
    ("fractions.Fraction(1, 3)", "\\frac13", "correct"),
    ("-0.5", "-\\frac{1}{2}", "correct"),
    ("'\\\\frac{2}{4}'", 0.5, "correct"),
    ("'\\\\sqrt{16}'", 4, "correct"),
    ("1744", "17,44", "wrong"),
    ("(1, 2)", "(1,2)", "correct"),
    ("(sympy.Rational(1, 2), 3)", "\\left(\\frac{1}{2}, 3\\right)", "correct"),
    ("{3, 1}", "\\{1, 3\\}", "correct"),
    ("[5]", 5, "wrong"),
    ("10 ** 30", 10**30, "correct"),
    ("10 ** 10 ** 6", 10**9, "wrong"),
    ("'9' * 10 ** 8", 9, "wrong"),
    ("object()", 5, "wrong"),
    ("None", 0, "error"),
    ("0", 0, "correct"),
    ("'Evelyn'", "\\text{Evelyn}", "correct"),
]


def test_answers_of_programs(environment: PythonEnvironment) -> None:
    """All at once, as the pool would see them."""
    import envs

    header = "import fractions, decimal, numpy, sympy\ndef solution():\n    return "
    programs = [(envs.Task(text, "?", answer), header + text) for text, answer, _ in _RETURNS]
    outcomes = list(environment.execute(programs))
    seen = {
        (text, str(answer)): outcome.kind
        for (text, answer, _), outcome in zip(_RETURNS, outcomes, strict=True)
    }
    assert seen == {(text, str(answer)): kind for text, answer, kind in _RETURNS}


@pytest.mark.parametrize(
    "text", ["10^{10^{8}}", "10^{10^{10^{10}}}", "(" * 1500, "\\frac{" * 500, "9" * 3999 + "!"]
)
def test_a_comparison_that_would_not_end_is_wrong(environment: PythonEnvironment, text: str) -> None:
    start = time.monotonic()
    outcome = run(environment, f"result = {text!r}", answer="\\sqrt{2}")
    assert outcome.kind == "wrong"
    assert time.monotonic() - start < 8
    assert run(environment, "result = 2 ** 0.5", answer="\\sqrt{2}").correct


def test_text_that_sympy_would_evaluate_is_not_run(environment: PythonEnvironment) -> None:
    forged = """__import__("os").write(3, b'{"equal": true}' + bytes([10]))"""
    assert run(environment, f"result = {forged!r}", answer="\\sqrt{2}").kind == "wrong"
