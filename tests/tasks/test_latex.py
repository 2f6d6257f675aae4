"""Right answers for MATH, and the authors' rule next to them."""

import gzip
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envisions_jax.tasks.latex import boxed_answer, reference_label, to_number, to_rational

RATIONAL = {
    "7": "7",
    "-16": "-16",
    "6.25": "25/4",
    ".5": "1/2",
    "5.": "5",
    r"\frac{1}{6}": "1/6",
    r"-\frac{1}{2}": "-1/2",
    r"\frac{-7}{23}": "-7/23",
    r"\dfrac{1}{12}": "1/12",
    r"\tfrac32": "3/2",
    r"\frac43": "4/3",
    r"2\frac{1}{2}": "5/2",
    r"\frac{1}{\frac{2}{3}}": "3/2",
    "3/4": "3/4",
    r"33,\!800": "33800",
    r"24{,}000": "24000",
    "1,234,567": "1234567",
    r"0.1\overline{6}": "1/6",
    r"2^{10}": "1024",
    r"6 \times 10^5": "600000",
    "-3^2": "-9",
    r"15^\circ": "15",
    r"810^{\circ}": "810",
    r"64\%": "64",
    r"\$18.90": "189/10",
    r"180\text{ miles}": "180",
    r"\frac{11}{15}\text{ days}": "11/15",
    r"10\text{ cm}^2": "10",
    "x=4": "4",
    r"\left(-\frac{1}{2}\right)": "-1/2",
}
NOT_RATIONAL = [
    *[
        "",
        "-",
        "{",
        "(((",
        "x",
        "x+1",
        "17,44",
        "2,-2",
        "(1,2)",
        "[2,5)",
        "3:1",
        "43_5.",
        "4!",
        "nan",
        "inf",
        "1e5",
    ],
    *[r"\frac", r"\frac{\sqrt{3}}{2}", r"\sqrt{4}", r"2\pi", r"\text{(C)}", r"5\text{ or }6", r"05\!:\!00"],
    *[r"\frac{1}{0}", "0^{-1}", r"2^{\frac{1}{2}}", r"\begin{pmatrix}6\\3\end{pmatrix}", "-3-8i"],
    *["9" * 500, r"((2^{900})^{900})^{900}", r"2^{99999999999}"],
]


@pytest.mark.parametrize(("latex", "value"), RATIONAL.items())
def test_reads_every_way_of_writing_a_rational_number(latex: str, value: str) -> None:
    assert to_rational(latex) == Fraction(value)


@pytest.mark.parametrize("latex", NOT_RATIONAL)
def test_anything_else_is_no_number(latex: str) -> None:
    assert to_rational(latex) is None


@given(st.text(alphabet=r"0123456789-+/^*(){},.\!% fractdsqovelin=x$", max_size=40) | st.text())
def test_never_raises_and_a_number_is_finite(latex: str) -> None:
    value = to_rational(latex)
    assert value is None or abs(float(value)) < float("inf")
    reference_label(latex)
    boxed_answer(latex)


@given(st.fractions())
def test_reads_back_what_it_is_written_as(value: Fraction) -> None:
    sign = "-" if value < 0 else ""
    assert to_rational(f"{sign}\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}") == value


def test_an_integral_value_is_an_int() -> None:
    assert (to_number(Fraction(4, 2)), type(to_number(Fraction(4, 2)))) == (2, int)
    assert to_number(Fraction(1, 4)) == 0.25


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"so $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"first \boxed{1}, then \fbox{2}", "2"),
        (r"it is $\boxed 5$.", "5"),
        (r"\boxed{unclosed", None),
        ("no answer", None),
    ],
)
def test_the_answer_is_in_the_last_box(solution: str, answer: str | None) -> None:
    assert boxed_answer(solution) == answer


@pytest.mark.parametrize(
    ("latex", "label"),
    [
        (r"-\frac{1}{2}", 0.5),
        ("17,44", 1744),
        (r"\frac{\sqrt{51}}{7}", 51 / 7),
        ("43_5.", 435),
        (r"\tfrac32", None),
    ],
)
def test_the_authors_rule_makes_their_mistakes(latex: str, label: float | None) -> None:
    assert reference_label(latex) == label


def _math_sample(shared_data: Path) -> list[dict[str, Any]]:
    with gzip.open(shared_data / "math_train_300.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_agrees_with_the_known_values_of_real_answers(shared_data: Path) -> None:
    irrational = ("\\sqrt", "\\pi")
    for row in _math_sample(shared_data):
        value, known = to_rational(row["answer"]), row["answer_number"]
        if row["answer"] == r"24{,}000":  # which the sample's own values leave out
            assert value == 24000
        elif known is None or any(mark in row["answer"] for mark in irrational):
            assert value is None, row["answer"]
        else:
            assert value is not None and float(value) == pytest.approx(known, rel=1e-12), row["answer"]


def test_gives_every_published_label_of_the_sample(shared_data: Path) -> None:
    for row in _math_sample(shared_data):
        label = reference_label(row["answer"])
        assert label == (None if row["env_label"] is None else pytest.approx(row["env_label"])), row["answer"]
