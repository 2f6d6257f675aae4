"""What a child does with a program: compile, run, take its answer, say it in one line of JSON.

Runs inside the sandbox, beside hostile code in the same interpreter, so nothing it says is trusted: it
never sees the right answer, and the parent checks every field.
"""

import contextlib
import json
import re
import sys
import types
from decimal import Decimal
from fractions import Fraction
from numbers import Rational
from typing import Any

PRELOAD = (
    "math",
    "cmath",
    "sympy",
    "numpy",
    "fractions",
    "decimal",
    "datetime",
    "itertools",
    "functools",
    "statistics",
    "collections",
    "random",
    "re",
    "string",
    "operator",
    "heapq",
    "bisect",
    "calendar",
    "traceback",
    "dataclasses",
    "typing",
)
_TEXT_LIMIT = 4000
_ERROR_LIMIT = 400
# Larger integers are described, not written out: 10**10**8 has a hundred million digits.
_BITS_LIMIT = 40_000
_NAME = "program"
# "<function f at 0x7f2a…>": where an object lies differs from run to run, and outcomes must not.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
# The same inside a text that the program composed; "0x1f" or "byte at 0x1f" is its own.
_ADDRESS_IN_TEXT = re.compile(r" at 0x[0-9a-f]{8,}(?=>)")
# Run once before any job: SymPy imports parts of itself at first use and fills caches, which takes 40 ms.
_WARM_UP = """
from sympy import *
x, y = symbols("x y")
a, b = symbols("a b", positive=True)
solve(Eq(2 * x + 3, 11), x), solve(x**2 - 5 * x + 6, x), solve([x + y - 10, x - y - 2], [x, y])
solve([Eq(a + b, 3), Eq(a - b, 1)], (a, b)), solve(a**2 - 2, a), solve(Eq(x / 4, Rational(1, 3)), x)
result = simplify((x**2 - 1) / (x - 1)), Rational(1, 3) + sqrt(2), N(pi), latex(sqrt(2) / 2), factor(x**2 - 1)
"""


def run(payload: dict[str, Any]) -> bytes:
    """Executes `payload["program"]`; the line says {"answer": …}, {"error": …} or {"invalid": …}."""
    return (json.dumps(_execute(payload["program"])) + "\n").encode("ascii")


def warm_up() -> None:
    """Makes the first program as fast as the others. Raises RuntimeError if the packages do not work."""
    done = _execute(_WARM_UP)
    sys.modules.pop(_NAME, None)
    if "answer" not in done:
        raise RuntimeError(f"the sandbox's packages do not work: {done}")


def _execute(source: str) -> dict[str, Any]:
    try:
        code = compile(source, "<program>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        return {"invalid": _describe(error)}
    module = types.ModuleType(_NAME)
    sys.modules[_NAME] = module  # dataclasses and pickling look their module up
    try:
        exec(code, module.__dict__)
        if callable(module.__dict__.get("solution")):
            value = module.__dict__["solution"]()
        elif "result" in module.__dict__:
            value = module.__dict__["result"]
        else:
            return {"invalid": "the program defines neither solution() nor result"}
        answer = None if value is None else encode(value)
    except BaseException as error:  # SystemExit and KeyboardInterrupt are the program's errors, too
        return {"error": _describe(error)}
    finally:
        _flush()
    return {"error": "the program gave no answer (None)"} if answer is None else {"answer": answer}


def _flush() -> None:
    """What was printed must be in the pipe before the answer is. The program may have closed or replaced
    stdout.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()


def _describe(error: BaseException) -> str:
    """ "ZeroDivisionError: division by zero (line 3)": the innermost line that is the program's own."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<program>":
            line = trace.tb_lineno
        trace = trace.tb_next
    try:
        message = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:  # a program's own exception class may fail to print itself
        message = ""
    name = type(error).__name__
    text = _without_addresses(f"{name}: {message}" if message else name)
    return text[:_ERROR_LIMIT] + (f" (line {line})" if line is not None else "")


def encode(value: Any) -> dict[str, str]:
    """An answer as {"kind": "int" | "ratio" | "float" | "text", "text": …}, with {"number": …} for a text
    that has one.

    Accepts Python's numbers, Fraction, Decimal, NumPy scalars and 0-d arrays, SymPy expressions; integers
    go in base 16.
    """
    if isinstance(value, bool):
        return _text(str(value))
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return {"kind": "float", "text": repr(float(value))}
    if isinstance(value, str):
        return _text(_ADDRESS_IN_TEXT.sub(" at 0x…", value))
    if isinstance(value, complex):
        return encode(value.real) if value.imag == 0 else _text(str(value).strip("()").replace("j", "i"))
    if isinstance(value, Decimal):
        return _decimal(value)
    if type(value).__module__.partition(".")[0] == "sympy":
        return _sympy(value)
    if isinstance(value, Rational):
        return _ratio(Fraction(int(value.numerator), int(value.denominator)))
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        item = value.item()
        return encode(item if type(item) is not type(value) else float(item))
    if isinstance(value, (list, tuple)):
        return _text(", ".join(_plain(item) for item in value).join("()" if type(value) is tuple else "[]"))
    if isinstance(value, (set, frozenset)):
        return _text("\\{" + ", ".join(sorted(_plain(item) for item in value)) + "\\}")
    return _text(_without_addresses(str(value)))


def _plain(value: Any) -> str:
    """An element of a sequence, as one would write it."""
    code = encode(value)
    if code["kind"] == "int":
        return str(int(code["text"], 16))
    if code["kind"] == "ratio":
        numerator, denominator = (int(part, 16) for part in code["text"].split("/"))
        return f"{numerator}/{denominator}"
    return code["text"]


def _without_addresses(text: str) -> str:
    """For a description that Python made; it is the same in every run then."""
    return _ADDRESS.sub(" at 0x…", text)


def _text(text: str) -> dict[str, str]:
    return {"kind": "text", "text": text[:_TEXT_LIMIT]}


def _integer(value: int) -> dict[str, str]:
    if value.bit_length() > _BITS_LIMIT:
        return _text(f"an integer of {value.bit_length()} bits")
    return {"kind": "int", "text": f"{value:x}"}


def _ratio(value: Fraction) -> dict[str, str]:
    if value.denominator == 1:
        return _integer(value.numerator)
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _BITS_LIMIT:
        return _text("a fraction of huge integers")
    return {"kind": "ratio", "text": f"{value.numerator:x}/{value.denominator:x}"}


def _decimal(value: Decimal) -> dict[str, str]:
    if not value.is_finite():
        return _text(str(value))
    if abs(value.adjusted()) > 10_000:
        return _text(str(value))
    return _ratio(Fraction(value))


def _sympy(value: Any) -> dict[str, str]:
    """SymPy: rationals exactly; other constants as a float beside their LaTeX; all else as LaTeX."""
    import sympy

    if isinstance(value, sympy.Rational):
        return _ratio(Fraction(int(value.p), int(value.q)))
    if isinstance(value, sympy.Float):
        return encode(float(value))
    if isinstance(value, (sympy.logic.boolalg.BooleanTrue, sympy.logic.boolalg.BooleanFalse)):
        return _text(str(value))
    code = _text(_without_addresses(sympy.latex(value)))
    if isinstance(value, sympy.Expr) and value.is_number and value.is_finite:
        number = complex(value.evalf())
        if abs(number.imag) <= 1e-12 * abs(number.real):
            code["number"] = repr(number.real)
    return code
