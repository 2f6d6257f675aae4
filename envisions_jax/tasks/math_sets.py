"""The paper's math data sets: where each comes from, what its rows mean, and how it is split.

Every set is read in two forms: with the columns of its hub data set, or as {id, question, answer}.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from envisions_jax.tasks.columns import Fields, RealSet, RowError, answer_in, text_in
from envisions_jax.tasks.latex import boxed_answer, reference_label, to_number, to_rational

_MATH_SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)


def _number(value: Any) -> int | float:
    """An int where the value is integral. Text may have thousands separators and a dollar sign in front."""
    if isinstance(value, str):
        text = value.strip().removeprefix("$").replace(",", "")
        if re.fullmatch(
            r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?|[-+]?[0-9]+/0*[1-9][0-9]*", text
        ):
            return to_number(Fraction(text))
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    elif isinstance(value, float) and value - value == 0:  # neither infinite nor NaN
        return int(value) if value.is_integer() else value
    raise RowError(f"the answer must be a number, is {value!r}")


def _join(body: str, question: str) -> str:
    """Body and question as one text; some bodies lack their last full stop."""
    full_stop = "." if body[-1].isalnum() and question[0].isupper() else ""
    return f"{body}{full_stop} {question}"


def _read_gsm8k(columns: Mapping[str, Any], compat: str) -> Fields:
    answer = answer_in(columns)
    if isinstance(answer, str):  # the hub's answers are a worked solution that ends in "#### 72"
        answer = answer.rpartition("####")[2]
    return Fields(text_in(columns, "question"), _number(answer), {})


def _read_svamp(columns: Mapping[str, Any], compat: str) -> Fields:
    if "Body" not in columns:
        return Fields(text_in(columns, "question"), _number(answer_in(columns)), {})
    question = _join(text_in(columns, "Body"), text_in(columns, "Question"))
    return Fields(question, _number(answer_in(columns, "Answer")), {"type": columns.get("Type", "")})


def _read_asdiv(columns: Mapping[str, Any], compat: str) -> Fields | None:
    """ASDiv answers are "9 (apples)", "3:4", "12 (boys); 3 (girls)": used are those of one whole number."""
    answer = answer_in(columns)
    if "body" not in columns:
        return Fields(text_in(columns, "question"), _number(answer), {})
    match = re.fullmatch(r"\s*(-?[0-9][0-9,]*)(\.0*)?\s*(\([^()]*\))?\s*", str(answer))
    if match is None:
        return None
    question = _join(text_in(columns, "body"), text_in(columns, "question"))
    return Fields(question, _number(match[1]), {"type": columns.get("solution_type", "")})


def _read_gsm_hard(columns: Mapping[str, Any], compat: str) -> Fields:
    if "input" in columns:
        return Fields(text_in(columns, "input"), _number(answer_in(columns, "target")), {})
    return Fields(text_in(columns, "question"), _number(answer_in(columns)), {})


def _read_math(columns: Mapping[str, Any], compat: str) -> Fields | None:
    if "problem" in columns:
        question, latex = text_in(columns, "problem"), boxed_answer(text_in(columns, "solution"))
        if latex is None:
            raise RowError(r"the solution has no \boxed{…} answer")
    else:
        question, latex = text_in(columns, "question"), str(answer_in(columns))
    subject = columns.get("subject", columns.get("type", ""))
    meta = {"latex": latex, "level": columns.get("level", ""), "subject": subject}
    if compat == "reference":
        label = reference_label(latex)
        return None if label is None else Fields(question, _number(label), meta)
    value = to_rational(latex)
    return None if value is None else Fields(question, to_number(value), meta | {"exact": str(value)})


MATH_SETS: dict[str, RealSet] = {
    "gsm8k": RealSet(
        "openai/gsm8k",
        ("main",),
        ("train", "test"),
        _read_gsm8k,
        {"train": 7473, "test": 1319},
        id_format="gsm8k/{split}/{number}",
        has_train=True,
    ),
    "math": RealSet(
        "EleutherAI/hendrycks_math",
        _MATH_SUBJECTS,
        ("train", "test"),
        _read_math,
        {"train": 6019, "test": 4001},
        id_format="math/{split}/{number}",
        has_train=True,
        subset="rows whose gold answer is one rational number",
    ),
    "gsm_hard": RealSet(
        "reasoning-machines/gsm-hard",
        ("default",),
        ("train",),
        _read_gsm_hard,
        {"test": 1319},
        id_format="gsm_hard/test/{number}",
    ),
    "svamp": RealSet(
        "ChilleD/SVAMP",
        ("default",),
        ("train", "test"),
        _read_svamp,
        {"test": 1000},
        id_format="svamp/{number}",
    ),
    "asdiv": RealSet(
        "EleutherAI/asdiv",
        ("asdiv",),
        ("validation",),
        _read_asdiv,
        {"test": 2096},
        id_format="asdiv/{number:04d}",
        subset="rows whose answer is one whole number",
    ),
}
